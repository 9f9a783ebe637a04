// ToJson: Python's json.dumps on template values.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/utf8.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace rill::text::jinja {
namespace {

class Writer {
 public:
  Writer(Runtime& rt, const JsonStyle& style) : rt_(rt), style_(style) {}

  void Write(const Value& value, size_t level) {
    if (!rt_.Step()) return;
    if (out_.size() > rt_.limits().max_output_bytes) {
      rt_.Fail("tojson: the text would be longer than " +
                   std::to_string(rt_.limits().max_output_bytes) + " bytes",
               StatusCode::kResourceExhausted);
      return;
    }
    if (value.kind != Kind::kObject) tainted_ |= value.tainted;
    switch (value.kind) {
      case Kind::kString: WriteString(*value.s); return;
      case Kind::kNone: out_ += "null"; return;
      case Kind::kBool: out_ += value.b ? "true" : "false"; return;
      case Kind::kInt: out_ += std::to_string(value.i); return;
      case Kind::kFloat: out_ += Number(value.d); return;
      case Kind::kObject:
        tainted_ |= value.o->tainted;
        if (const SequenceObject* sequence = AsSequence(value)) return WriteList(*sequence, level);
        if (const DictObject* dict = AsDict(value)) return WriteDict(*dict, level);
        break;
      case Kind::kUndefined: break;
    }
    rt_.Fail(std::string("Object of type ") + TypeName(value) + " is not JSON serializable");
  }

  std::string& out() { return out_; }
  bool tainted() const { return tainted_; }

 private:
  static std::string Number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return FloatRepr(value);
  }

  void NewLine(size_t level) {
    if (!style_.pretty) return;
    if (style_.indent.size() * level > rt_.limits().max_output_bytes) {
      rt_.Fail("tojson: the indentation is too wide", StatusCode::kResourceExhausted);
      return;
    }
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += style_.indent;
  }

  void WriteString(const Str& str) {
    tainted_ |= !str.AllTrusted();
    out_ += '"';
    std::string_view rest = str.text;
    rt_.Charge(rest.size());
    while (!rest.empty()) {
      const DecodedRune rune = DecodeUtf8(rest);
      const auto c = static_cast<unsigned>(rune.rune);
      switch (c) {
        case '"': out_ += "\\\""; break;
        case '\\': out_ += "\\\\"; break;
        case '\n': out_ += "\\n"; break;
        case '\r': out_ += "\\r"; break;
        case '\t': out_ += "\\t"; break;
        case '\f': out_ += "\\f"; break;
        case '\b': out_ += "\\b"; break;
        default:
          if (c < 0x20 || (style_.ensure_ascii && c >= 0x7F && c != 0x7F)) {
            AppendEscape(c);
          } else {
            out_ += rest.substr(0, rune.size);
          }
      }
      rest.remove_prefix(rune.size);
    }
    out_ += '"';
  }

  void AppendEscape(unsigned c) {
    char buffer[16];
    if (c < 0x10000) {
      std::snprintf(buffer, sizeof buffer, "\\u%04x", c);
    } else {
      c -= 0x10000;
      std::snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x", 0xD800 + (c >> 10),
                    0xDC00 + (c & 0x3FF));
    }
    out_ += buffer;
  }

  void WriteList(const SequenceObject& list, size_t level) {
    if (list.items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < list.items.size() && !rt_.failed(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Write(list.items[i], level + 1);
    }
    NewLine(level);
    out_ += ']';
  }

  void WriteDict(const DictObject& dict, size_t level) {
    if (dict.items.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<Value> order, keys;
    for (size_t i = 0; i < dict.items.size(); ++i) {
      order.push_back(Value::Int(static_cast<int64_t>(i)));
      if (style_.sort_keys) keys.push_back(dict.items[i].first);
    }
    if (style_.sort_keys) SortByKeys(rt_, order, keys, false);
    out_ += '{';
    for (size_t i = 0; i < order.size() && !rt_.failed(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      const auto& [key, value] = dict.items[static_cast<size_t>(order[i].i)];
      WriteKey(key);
      out_ += style_.key_separator;
      Write(value, level + 1);
    }
    NewLine(level);
    out_ += '}';
  }

  void WriteKey(const Value& key) {
    if (key.is_string()) return WriteString(*key.s);
    tainted_ |= key.tainted;
    switch (key.kind) {
      case Kind::kNone: out_ += "\"null\""; return;
      case Kind::kBool: out_ += key.b ? "\"true\"" : "\"false\""; return;
      case Kind::kInt: out_ += '"' + std::to_string(key.i) + '"'; return;
      case Kind::kFloat: out_ += '"' + Number(key.d) + '"'; return;
      default:
        rt_.Fail(std::string("keys must be str, int, float, bool or None, not ") + TypeName(key));
    }
  }

  Runtime& rt_;
  const JsonStyle& style_;
  std::string out_;
  bool tainted_ = false;
};

}  // namespace

Value ToJson(Runtime& rt, const Value& value, const JsonStyle& style) {
  Writer writer(rt, style);
  writer.Write(value, 0);
  if (rt.failed()) return {};
  return rt.Text(writer.out(), !writer.tainted());
}

}  // namespace rill::text::jinja
