#include "text/chat_template.h"

#include <utility>
#include <vector>

#include "base/utf8.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/runtime.h"

namespace rill::text {
namespace {

using jinja::Runtime;
using jinja::Value;

constexpr int kMaxInputDepth = 150;  // of a request's JSON

// JSON of a request as template values. `trusted`: the caller, not a user, wrote it.
Value FromJson(Runtime& rt, const Json& json, bool trusted, int depth) {
  if (depth > kMaxInputDepth) {
    return rt.Fail(
        "the request's JSON nests deeper than " + std::to_string(kMaxInputDepth) + " levels",
        StatusCode::kResourceExhausted);
  }
  if (rt.failed()) return {};
  Value out;
  const auto text = [&](const std::string& bytes) {
    if (!IsValidUtf8(bytes)) return rt.Fail("expected UTF-8 in the request, got other bytes");
    return rt.Text(bytes, trusted);
  };
  if (json.is_null()) {
    out = Value::None();
  } else if (json.is_bool()) {
    out = Value::Bool(json.bool_value());
  } else if (json.is_int()) {
    if (!json.FitsInt64()) return rt.Fail("expected integers of at most 64 bits in the request");
    out = Value::Int(json.int_value());
  } else if (json.is_number()) {
    out = Value::Float(json.number_value());
  } else if (json.is_string()) {
    return text(json.string_value());
  } else if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.array().size());
    for (const Json& item : json.array()) items.push_back(FromJson(rt, item, trusted, depth + 1));
    out = rt.List(std::move(items));
    out.o->tainted = !trusted;
    return out;
  } else {
    auto* dict = rt.New<jinja::DictObject>();
    for (const auto& [key, value] : json.object()) {
      const Value name = text(key);
      const Value member = FromJson(rt, value, trusted, depth + 1);
      if (rt.failed()) return {};
      rt.DictSet(dict, name, member);
    }
    dict->tainted = !trusted;
    return Value::Obj(dict);
  }
  out.tainted = !trusted;
  return out;
}

class CompiledTemplate : public ChatTemplate {
 public:
  CompiledTemplate(jinja::Body body, std::string culprit, const TemplateLimits& limits)
      : body_(std::move(body)), culprit_(std::move(culprit)), limits_(limits) {}

  Result<MarkedText> Render(const TemplateInput& input) const override {
    Runtime rt(limits_, culprit_, input.now_unix_s);
    std::vector<std::pair<std::string, Value>> variables;
    const auto set = [&](const std::string& name, Value value) {
      for (auto& [key, old] : variables) {
        if (key == name) {
          old = std::move(value);
          return;
        }
      }
      variables.emplace_back(name, std::move(value));
    };
    set("messages", FromJson(rt, input.messages, false, 0));
    set("tools", FromJson(rt, input.tools, false, 0));
    set("documents", FromJson(rt, input.documents, false, 0));
    set("add_generation_prompt", Value::Bool(input.add_generation_prompt));
    if (!input.bos_token.empty()) set("bos_token", FromJson(rt, input.bos_token, true, 0));
    if (!input.eos_token.empty()) set("eos_token", FromJson(rt, input.eos_token, true, 0));
    for (const Json* extra : {&input.extra, &input.untrusted_extra}) {
      if (extra->is_null()) continue;
      if (!extra->is_object()) {
        return InvalidArgument(culprit_ + ": expected extra template variables as an object, got " +
                               std::string(extra->TypeName()));
      }
      for (const auto& [name, value] : extra->object()) {
        set(name, FromJson(rt, value, extra == &input.extra, 0));
      }
    }
    const Value text = jinja::Interpreter(rt).Render(body_, std::move(variables));
    if (rt.failed()) return rt.error();
    return MarkedText{text.s->text, text.s->trusted};
  }

 private:
  const jinja::Body body_;
  const std::string culprit_;
  const TemplateLimits limits_;
};

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Compile(std::string_view source,
                                                                  std::string_view culprit,
                                                                  const TemplateLimits& limits) {
  if (source.size() > limits.max_source_bytes) {
    return ResourceExhausted(std::string(culprit) + ": expected a template of at most " +
                             std::to_string(limits.max_source_bytes) + " bytes, got " +
                             std::to_string(source.size()));
  }
  if (!IsValidUtf8(source)) {
    return InvalidArgument(std::string(culprit) + ": expected UTF-8, got other bytes");
  }
  RILL_ASSIGN_OR_RETURN(jinja::Body body, jinja::Parse(source, culprit, limits));
  return std::shared_ptr<const ChatTemplate>(
      std::make_shared<CompiledTemplate>(std::move(body), std::string(culprit), limits));
}

}  // namespace rill::text
