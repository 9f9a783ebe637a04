// Filters on one value: text, numbers, JSON. Those on sequences are in sequence_filters.cc.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "text/jinja/python_text.h"
#include "text/jinja/sequence_filters.h"
#include "text/jinja/string_ops.h"

namespace rill::text::jinja {
namespace {

// The filter's text: str(value), Markup kept. False after an error.
bool TextOf(Runtime& rt, const Value& value, Value* out) {
  *out = rt.StrKeepMarkup(value);
  return !rt.failed();
}

template <CaseMap kMap>
Value Case(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  Value text;
  if (!BindArgs(rt, "filter", args, {}, 0, slots) || !TextOf(rt, self, &text)) return {};
  return MapCase(rt, *text.s, kMap);
}

// jinja2's own: a word starts after blanks, "-", "(", "{", "[" or "<".
Value Title(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  Value value;
  if (!BindArgs(rt, "title", args, {}, 0, slots) || !TextOf(rt, self, &value)) return {};
  const Str& str = *value.s;
  const std::string_view text = str.text;
  TextBuilder out = rt.Builder();
  const auto is_break = [](char32_t c) {
    return IsPythonSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (size_t at = 0; at < text.size() && !rt.failed();) {
    const DecodedRune first = DecodeUtf8(text.substr(at));
    std::string mapped;
    // The first character of a word in upper case, the rest of the word lowered as one string.
    AppendUpper(mapped, first.rune);
    out.Append(mapped, str.TrustedAt(at));
    size_t end = at + first.size;
    if (!is_break(first.rune)) {
      while (end < text.size() && !is_break(DecodeUtf8(text.substr(end)).rune)) {
        end += DecodeUtf8(text.substr(end)).size;
      }
      if (!rt.Step()) break;
      const Value rest = rt.Slice(str, at + first.size, end);
      if (rt.failed()) break;
      const Value lowered = MapCase(rt, *rest.s, CaseMap::kLower);
      if (rt.failed()) break;
      out.Append(*lowered.s);
    }
    at = end;
  }
  return rt.failed() ? Value() : rt.Take(std::move(out));
}

Value Trim(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  Value text;
  if (!BindArgs(rt, "trim", args, {"chars"}, 0, slots) || !TextOf(rt, self, &text)) return {};
  return StripText(rt, text, slots[0], StripSide::kBoth);
}

Value String(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "string", args, {}, 0, slots) ? rt.StrKeepMarkup(self) : Value();
}

Value Safe(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "safe", args, {}, 0, slots)) return {};
  TextBuilder out = rt.Builder();
  rt.AppendStr(out, self);
  return rt.failed() ? Value() : rt.Take(std::move(out), /*markup=*/true);
}

Value EscapeFilter(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "escape", args, {}, 0, slots) ? rt.Escape(self) : Value();
}

Value ForceEscape(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "forceescape", args, {}, 0, slots)) return {};
  const Value text = rt.Str(self);
  return rt.failed() ? Value() : rt.Escape(text);
}

Value Replace(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "replace", args, {"old", "new", "count"}, 2, slots)) return {};
  int64_t count = -1;
  if (slots[2] != nullptr && !slots[2]->is_none() && !ReadInt(rt, *slots[2], "replace()", &count)) {
    return {};
  }
  const Value text = rt.Str(self), from = rt.Str(*slots[0]), to = rt.Str(*slots[1]);
  return rt.failed() ? Value() : ReplaceText(rt, *text.s, *from.s, *to.s, count, false);
}

Value Default(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "default", args, {"default_value", "boolean"}, 0, slots)) return {};
  const bool by_truth = slots[1] != nullptr && Truthy(*slots[1]);
  if (!self.is_undefined() && !(by_truth && !Truthy(self))) return self;
  return slots[0] != nullptr ? *slots[0] : rt.Text("", true);
}

bool TextTainted(const Value& value) {
  if (value.is_string()) return !value.s->AllTrusted();
  return value.tainted;
}

Value Int(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "int", args, {"default", "base"}, 0, slots)) return {};
  int64_t base = 10;
  if (slots[1] != nullptr && !ReadInt(rt, *slots[1], "int()", &base)) return {};
  const Value fallback = slots[0] != nullptr ? *slots[0] : Value::Int(0);
  const bool tainted = TextTainted(self);
  const auto overflow = [&] {
    return rt.Fail("int: the number does not fit 64 bits", StatusCode::kUnsupported);
  };
  if (self.is_undefined()) return rt.UndefinedError(self);
  if (self.is_integral()) return Value::Int(self.as_int(), tainted);
  double number = 0;
  if (self.is_string()) {
    int64_t value = 0;
    bool too_large = false;
    rt.Charge(self.s->text.size() * 4);
    if (base == 0 || (base >= 2 && base <= 36)) {
      if (ParsePythonInt(self.s->text, static_cast<int>(base), &value, &too_large)) {
        return too_large ? overflow() : Value::Int(value, tainted);
      }
    }
    if (!ParsePythonFloat(self.s->text, &number)) return fallback;
  } else if (self.kind == Kind::kFloat) {
    number = self.d;
    if (std::isinf(number)) return rt.Fail("cannot convert float infinity to integer");
  } else {
    return fallback;
  }
  if (std::isnan(number) || std::isinf(number)) return fallback;
  if (std::fabs(number) >= 9223372036854775808.0) return overflow();
  return Value::Int(static_cast<int64_t>(number), tainted);
}

Value Float(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "float", args, {"default"}, 0, slots)) return {};
  if (self.is_undefined()) return rt.UndefinedError(self);
  if (self.is_number()) return Value::Float(self.as_double(), self.tainted);
  double number = 0;
  if (self.is_string()) {
    rt.Charge(self.s->text.size() * 4);
    if (ParsePythonFloat(self.s->text, &number)) return Value::Float(number, TextTainted(self));
  }
  return slots[0] != nullptr ? *slots[0] : Value::Float(0.0);
}

Value Abs(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "abs", args, {}, 0, slots)) return {};
  if (self.kind == Kind::kFloat) return Value::Float(std::fabs(self.d), self.tainted);
  if (self.is_integral()) return self.as_int() < 0 ? rt.Negate(self) : rt.Positive(self);
  if (self.is_undefined()) return rt.UndefinedError(self);
  return rt.Fail(std::string("bad operand type for abs(): '") + TypeName(self) + "'");
}

// Python's round(): to even, decided on the exact decimal value.
double RoundTo(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < -300) return std::copysign(0.0, value);
  if (digits >= 0) {
    char buffer[800];
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
    double out = value;
    ParsePythonFloat(buffer, &out);
    return out;
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

Value Round(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "round", args, {"precision", "method"}, 0, slots)) return {};
  int64_t digits = 0;
  if (slots[0] != nullptr && !ReadInt(rt, *slots[0], "round()", &digits)) return {};
  std::string method = "common";
  if (slots[1] != nullptr) method = slots[1]->is_string() ? slots[1]->s->text : "";
  if (method != "common" && method != "ceil" && method != "floor") {
    return rt.Fail("round: method must be common, ceil or floor");
  }
  if (self.is_undefined()) return rt.UndefinedError(self);
  if (!self.is_number()) {
    return rt.Fail(std::string("round: expected a number, got '") + TypeName(self) + "'");
  }
  if (method == "common") {
    if (self.kind == Kind::kFloat) return Value::Float(RoundTo(self.d, digits), self.tainted);
    if (digits >= 0) return Value::Int(self.as_int(), self.tainted);
    if (digits < -18) return Value::Int(0, self.tainted);
    int64_t unit = 1;
    for (int64_t i = 0; i > digits; --i) unit *= 10;
    const int64_t v = self.as_int();
    int64_t low = v / unit * unit;
    if (v % unit < 0) low -= unit;
    const int64_t rest = v - low;
    const bool up = rest > unit - rest || (rest == unit - rest && low / unit % 2 != 0);
    return Value::Int(up ? low + unit : low, self.tainted);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = self.as_double() * scale;
  if (!std::isfinite(scaled)) return rt.Fail("round: cannot convert the number to an integer");
  const double rounded = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value::Float(rounded / scale, self.tainted);
}

Value Length(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "length", args, {}, 0, slots)) return {};
  return Value::Int(rt.Length(self));
}

Value Indent(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "indent", args, {"width", "first", "blank"}, 0, slots)) return {};
  if (!self.is_string()) {
    if (self.is_undefined()) return rt.UndefinedError(self);
    return rt.Fail(std::string("indent: expected a string, got '") + TypeName(self) + "'");
  }
  Value indention;
  if (slots[0] != nullptr && slots[0]->is_string()) {
    indention = *slots[0];
  } else {
    int64_t width = 4;
    if (slots[0] != nullptr && !ReadInt(rt, *slots[0], "indent()", &width)) return {};
    indention = rt.Binary("*", rt.Text(" ", true), Value::Int(width));
  }
  const bool first = slots[1] != nullptr && Truthy(*slots[1]);
  const bool blank = slots[2] != nullptr && Truthy(*slots[2]);
  if (rt.failed()) return {};
  // A newline is added before the lines are split, so that a last newline keeps its line.
  TextBuilder joined = rt.Builder();
  joined.Append(*self.s);
  joined.Append("\n", true);
  const Value text = rt.Take(std::move(joined));
  if (rt.failed()) return {};
  const std::vector<Value> lines = SplitLines(rt, *text.s, false);
  TextBuilder out = rt.Builder();
  if (first) out.Append(*indention.s);
  for (size_t i = 0; i < lines.size() && !rt.failed(); ++i) {
    if (i > 0) {
      out.Append("\n", true);
      if (blank || !lines[i].s->text.empty()) out.Append(*indention.s);
    }
    out.Append(*lines[i].s);
  }
  return rt.failed() ? Value() : rt.Take(std::move(out), self.s->markup);
}

Value Center(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  Value text;
  if (!BindArgs(rt, "center", args, {"width"}, 0, slots) || !TextOf(rt, self, &text)) return {};
  Args call;
  call.positional.push_back(slots[0] != nullptr ? *slots[0] : Value::Int(80));
  return FindStringMethod("center")(rt, text, call);
}

Value Format(Runtime& rt, const Value& self, Args& args) {
  Value text;
  if (!TextOf(rt, self, &text)) return {};
  if (!args.positional.empty() && !args.named.empty()) {
    return rt.Fail("format: positional and keyword arguments cannot be mixed");
  }
  if (args.named.empty()) return PercentFormat(rt, *text.s, rt.Tuple(std::move(args.positional)));
  auto* dict = rt.New<DictObject>();
  for (auto& [name, value] : args.named) rt.DictSet(dict, rt.Text(name, true), value);
  return rt.failed() ? Value() : PercentFormat(rt, *text.s, Value::Obj(dict));
}

Value Truncate(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[4];
  if (!BindArgs(rt, "truncate", args, {"length", "killwords", "end", "leeway"}, 0, slots))
    return {};
  int64_t length = 255, leeway = 5;
  if (slots[0] != nullptr && !ReadInt(rt, *slots[0], "truncate()", &length)) return {};
  if (slots[3] != nullptr && !slots[3]->is_none() &&
      !ReadInt(rt, *slots[3], "truncate()", &leeway)) {
    return {};
  }
  const Value end = slots[2] != nullptr ? *slots[2] : rt.Text("...", true);
  if (self.is_undefined()) return self;
  if (!self.is_string() || !end.is_string()) return rt.Fail("truncate: expected strings");
  if (length < end.s->num_runes || leeway < 0)
    return rt.Fail("truncate: length or leeway is too small");
  const int64_t most = length > INT64_MAX - leeway ? INT64_MAX : length + leeway;
  if (self.s->num_runes <= most) return self;
  size_t cut = self.s->ByteOffset(length - end.s->num_runes);
  if (slots[1] == nullptr || !Truthy(*slots[1])) {
    const size_t blank = cut == 0 ? std::string::npos : self.s->text.rfind(' ', cut - 1);
    if (blank != std::string::npos) cut = blank;
  }
  TextBuilder out = rt.Builder();
  out.AppendSlice(*self.s, 0, cut);
  out.Append(*end.s);
  return rt.Take(std::move(out), self.s->markup);
}

Value WordCount(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  Value text;
  if (!BindArgs(rt, "wordcount", args, {}, 0, slots) || !TextOf(rt, self, &text)) return {};
  rt.Charge(text.s->text.size());
  int64_t count = 0;
  bool inside = false;
  for (std::string_view rest = text.s->text; !rest.empty();) {
    const DecodedRune rune = DecodeUtf8(rest);
    const bool word = rune.rune == '_' || IsAlnum(rune.rune);
    count += word && !inside;
    inside = word;
    rest.remove_prefix(rune.size);
  }
  return Value::Int(count);
}

Value UrlEncode(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "urlencode", args, {}, 0, slots)) return {};
  if (self.kind == Kind::kObject) {
    return rt.Fail("urlencode: only strings are supported", StatusCode::kUnsupported);
  }
  const Value text = rt.Str(self);
  if (rt.failed()) return {};
  TextBuilder out = rt.Builder();
  const std::string& bytes = text.s->text;
  rt.Charge(bytes.size() * 4);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 &&
        (IsAlnum(byte) || std::string_view("_.-~/").find(c) != std::string_view::npos)) {
      out.AppendSlice(*text.s, i, i + 1);
    } else {
      const char hex[] = {'%', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
      out.Append(std::string_view(hex, 3), text.s->TrustedAt(i));
    }
  }
  return rt.Take(std::move(out));
}

Value FileSize(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "filesizeformat", args, {"binary"}, 0, slots)) return {};
  Args none;
  double bytes = 0;
  if (self.is_string() ? !ParsePythonFloat(self.s->text, &bytes) : !self.is_number()) {
    return rt.Fail("filesizeformat: expected a number");
  }
  if (self.is_number()) bytes = self.as_double();
  const bool binary = slots[0] != nullptr && Truthy(*slots[0]);
  const double base = binary ? 1024 : 1000;
  const bool trusted = !TextTainted(self);
  if (bytes == 1) return rt.Text("1 Byte", trusted);
  if (bytes < base) return rt.Text(std::to_string(static_cast<int64_t>(bytes)) + " Bytes", trusted);
  static constexpr const char* kUnits = "kMGTPEZY";
  double unit = base * base;
  size_t i = 0;
  while (i + 1 < 8 && bytes >= unit) {
    unit *= base;
    ++i;
  }
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.1f ", base * bytes / unit);
  std::string name(1, kUnits[i]);
  if (binary) name = (i == 0 ? "K" : name) + "i";
  return rt.Text(buffer + name + "B", trusted);
}

Value ToJsonFilter(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[4];
  if (!BindArgs(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0,
                slots)) {
    return {};
  }
  JsonStyle style;
  style.ensure_ascii = slots[0] != nullptr && Truthy(*slots[0]);
  style.sort_keys = slots[3] != nullptr && Truthy(*slots[3]);
  if (slots[1] != nullptr && !slots[1]->is_none()) {
    style.pretty = true;
    style.item_separator = ",";
    if (slots[1]->is_string()) {
      style.indent = slots[1]->s->text;
    } else {
      int64_t width = 0;
      if (!ReadInt(rt, *slots[1], "tojson indent", &width)) return {};
      if (width > 1000)
        return rt.Fail("tojson: expected an indent of at most 1000", StatusCode::kUnsupported);
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (slots[2] != nullptr && !slots[2]->is_none()) {
    const SequenceObject* pair = AsSequence(*slots[2]);
    if (pair == nullptr || pair->items.size() != 2 || !pair->items[0].is_string() ||
        !pair->items[1].is_string()) {
      return rt.Fail("tojson: expected separators (item, key)");
    }
    style.item_separator = pair->items[0].s->text;
    style.key_separator = pair->items[1].s->text;
  }
  return ToJson(rt, self, style);
}

Value Attr(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "attr", args, {"name"}, 1, slots)) return {};
  if (!slots[0]->is_string()) return rt.Fail("attr: expected a string");
  if (AsDict(self) != nullptr) {  // attributes only, never keys
    static constexpr std::string_view kMethods[] = {"items", "keys", "values", "get", "copy"};
    const std::string& name = slots[0]->s->text;
    if (std::find(std::begin(kMethods), std::end(kMethods), name) == std::end(kMethods)) {
      return rt.Undefined("'dict object' has no attribute '" + PrintableUtf8(name, 60) + "'");
    }
  }
  return rt.GetAttribute(self, slots[0]->s->text);
}

struct Filter {
  std::string_view name;
  Builtin call;
};

constexpr Filter kFilters[] = {
    {"abs", &Abs},
    {"attr", &Attr},
    {"batch", &sequence::Batch},
    {"capitalize", &Case<CaseMap::kCapitalize>},
    {"center", &Center},
    {"count", &Length},
    {"d", &Default},
    {"default", &Default},
    {"dictsort", &sequence::DictSort},
    {"e", &EscapeFilter},
    {"escape", &EscapeFilter},
    {"filesizeformat", &FileSize},
    {"first", &sequence::First},
    {"float", &Float},
    {"forceescape", &ForceEscape},
    {"format", &Format},
    {"groupby", &sequence::GroupBy},
    {"indent", &Indent},
    {"int", &Int},
    {"items", &sequence::Items},
    {"join", &sequence::Join},
    {"last", &sequence::Last},
    {"length", &Length},
    {"list", &sequence::ToList},
    {"lower", &Case<CaseMap::kLower>},
    {"map", &sequence::Map},
    {"max", &sequence::Max},
    {"min", &sequence::Min},
    {"reject", &sequence::Reject},
    {"rejectattr", &sequence::RejectAttr},
    {"replace", &Replace},
    {"reverse", &sequence::Reverse},
    {"round", &Round},
    {"safe", &Safe},
    {"select", &sequence::Select},
    {"selectattr", &sequence::SelectAttr},
    {"slice", &sequence::Slice},
    {"sort", &sequence::Sort},
    {"string", &String},
    {"sum", &sequence::Sum},
    {"title", &Title},
    {"tojson", &ToJsonFilter},
    {"trim", &Trim},
    {"truncate", &Truncate},
    {"unique", &sequence::Unique},
    {"upper", &Case<CaseMap::kUpper>},
    {"urlencode", &UrlEncode},
    {"wordcount", &WordCount},
};

}  // namespace

Builtin FindFilter(std::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.name == name) return filter.call;
  }
  return nullptr;
}

bool IsKnownButUnsupportedFilter(std::string_view name) {
  static constexpr std::string_view kNames[] = {"pprint", "random",   "striptags",
                                                "urlize", "wordwrap", "xmlattr"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace rill::text::jinja
