// Python's two string formatters: format % args and format.format(…), and format(value, spec).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace rill::text::jinja {
namespace {

constexpr int64_t kMaxPrecision = 300;  // digits after the point; Python allows more

struct Spec {
  char32_t fill = ' ';
  char align = 0;  // < > = ^
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  char grouping = 0;  // , or _
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

bool ReadNumber(std::string_view& text, int64_t* out) {
  size_t size = 0;
  int64_t value = 0;
  while (size < text.size() && text[size] >= '0' && text[size] <= '9') {
    value = std::min<int64_t>(value * 10 + (text[size++] - '0'), int64_t{1} << 40);
  }
  if (size == 0) return false;
  text.remove_prefix(size);
  *out = value;
  return true;
}

// [[fill]align][sign][#][0][width][grouping][.precision][type]
bool ParseSpec(std::string_view text, Spec* spec) {
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  if (!text.empty()) {
    const DecodedRune first = DecodeUtf8(text);
    if (text.size() > first.size && is_align(text[first.size])) {
      spec->fill = first.rune;
      spec->align = text[first.size];
      text.remove_prefix(first.size + 1u);
    } else if (is_align(text[0])) {
      spec->align = text[0];
      text.remove_prefix(1);
    }
  }
  const auto take = [&](std::string_view set) -> char {
    if (text.empty() || set.find(text[0]) == set.npos) return 0;
    const char c = text[0];
    text.remove_prefix(1);
    return c;
  };
  if (const char sign = take("+- ")) spec->sign = sign;
  if (take("#")) spec->alternate = true;
  if (take("0")) {
    spec->zero = true;
    if (spec->align == 0) {
      spec->fill = '0';
      spec->align = '=';
    }
  }
  ReadNumber(text, &spec->width);
  spec->grouping = take(",_");
  if (take(".") && !ReadNumber(text, &spec->precision)) return false;
  if (!text.empty()) {
    spec->type = text[0];
    text.remove_prefix(1);
  }
  return text.empty();
}

std::string Grouped(std::string digits, char separator, size_t every) {
  if (separator == 0) return digits;
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

// Magnitude of an integer in base 10, 2, 8 or 16.
std::string Magnitude(int64_t value, char type) {
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  std::string out;
  do {
    out += (type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base];
    rest /= base;
  } while (rest != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

// Magnitude of a float as e, f, g, % or without a type.
std::string Magnitude(double value, const Spec& spec) {
  const double magnitude = std::fabs(value);
  const bool upper = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  if (std::isnan(value)) return std::string(upper ? "NAN" : "nan") + (spec.type == '%' ? "%" : "");
  if (std::isinf(value)) return std::string(upper ? "INF" : "inf") + (spec.type == '%' ? "%" : "");
  char buffer[700];
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  if (spec.type == 0) {
    if (spec.precision < 0) return FloatRepr(magnitude);
    // Like g, but with a digit after the point, and exponents one sooner.
    const int digits = std::max(1, precision);
    std::snprintf(buffer, sizeof buffer, "%.*e", digits - 1, magnitude);
    const int exponent = std::atoi(std::strchr(buffer, 'e') + 1);
    if (exponent >= -4 && exponent < digits - 1 + (exponent == 0 ? 1 : 0)) {
      std::snprintf(buffer, sizeof buffer, "%.*g", digits, magnitude);
      std::string text = buffer;
      return text.find('.') == text.npos ? text + ".0" : text;
    }
    if (exponent >= -4 && exponent < digits) {
      std::snprintf(buffer, sizeof buffer, "%.*e", digits - 1, magnitude);
    } else {
      std::snprintf(buffer, sizeof buffer, "%.*g", digits, magnitude);
      return buffer;
    }
    std::string text = buffer;
    const size_t e = text.find('e');
    std::string mantissa = text.substr(0, e);
    if (mantissa.find('.') != mantissa.npos) {
      while (mantissa.back() == '0') mantissa.pop_back();
      if (mantissa.back() == '.') mantissa.pop_back();
    }
    return mantissa + text.substr(e);
  }
  char pattern[8];
  const char type = spec.type == '%' ? 'f' : spec.type == 'n' ? 'g' : spec.type;
  std::snprintf(pattern, sizeof pattern, spec.alternate ? "%%#.*%c" : "%%.*%c", type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  std::snprintf(buffer, sizeof buffer, pattern, precision,
                magnitude * (spec.type == '%' ? 100 : 1));
#pragma GCC diagnostic pop
  return std::string(buffer) + (spec.type == '%' ? "%" : "");
}

void AppendFill(TextBuilder& out, char32_t fill, int64_t count, bool trusted) {
  std::string unit;
  AppendUtf8(unit, fill);
  for (int64_t i = 0; i < count && !out.overflowed(); ++i) out.Append(unit, trusted);
}

// prefix (sign, 0x) and digits, or text, padded to the width.
void AppendPadded(TextBuilder& out, const Spec& spec, const std::string& prefix, const Str& body,
                  char default_align, bool trusted) {
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t missing =
      std::max<int64_t>(0, spec.width - body.num_runes - static_cast<int64_t>(prefix.size()));
  const int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  AppendFill(out, spec.fill, left, trusted);
  out.Append(prefix, trusted);
  if (align == '=') AppendFill(out, spec.fill, missing, trusted);
  out.Append(body);
  if (align == '<' || align == '^') AppendFill(out, spec.fill, missing - left, trusted);
}

void AppendNumber(TextBuilder& out, Spec spec, bool negative, const std::string& prefix,
                  std::string digits, size_t group, bool trusted) {
  if (spec.grouping != 0) {
    const size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
    const bool is_float = digits.find_first_of(".en%") != digits.npos && group == 3;
    const size_t whole =
        is_float ? std::min(digits.find_first_not_of("0123456789"), digits.size()) : end;
    std::string head = digits.substr(0, whole);
    // Zero padding is grouped too.
    if (spec.fill == '0' && spec.align == '=') {
      const auto sign =
          static_cast<int64_t>(prefix.size()) + (negative || spec.sign != '-' ? 1 : 0);
      const auto tail = static_cast<int64_t>(digits.size() - whole);
      while (static_cast<int64_t>(Grouped(head, spec.grouping, group).size()) + sign + tail <
                 spec.width &&
             head.size() < 4096) {
        head.insert(head.begin(), '0');
      }
    }
    digits = Grouped(head, spec.grouping, group) + digits.substr(whole);
  }
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  Str body;
  body.text = std::move(digits);
  body.num_runes = static_cast<int64_t>(body.text.size());
  if (trusted && !body.text.empty()) body.trusted.push_back({0, body.text.size()});
  AppendPadded(out, spec, sign + prefix, body, '>', trusted);
}

bool AppendFormatted(Runtime& rt, TextBuilder& out, const Value& value, const Spec& spec) {
  const auto bad = [&] {
    rt.Fail(std::string("format: code '") + spec.type + "' is not defined for '" + TypeName(value) +
            "'");
    return false;
  };
  if (spec.precision > kMaxPrecision && !value.is_string()) {
    rt.Fail("format: expected a precision of at most 300", StatusCode::kUnsupported);
    return false;
  }
  if (static_cast<uint64_t>(spec.width) > rt.limits().max_output_bytes) {
    rt.Fail("format: the width is too large", StatusCode::kResourceExhausted);
    return false;
  }
  if (value.is_string()) {
    if (spec.type != 0 && spec.type != 's') return bad();
    if (spec.align == '=' && !spec.zero) {
      rt.Fail("format: '=' alignment is not allowed for strings");
      return false;
    }
    if (spec.grouping != 0 || spec.sign != '-' || spec.alternate) return bad();
    Spec padded = spec;
    if (padded.align == '=') padded.align = '<';  // "010" pads strings with zeros on the right
    const Str& str = *value.s;
    if (spec.precision >= 0 && spec.precision < str.num_runes) {
      const Value cut = rt.Slice(str, 0, str.ByteOffset(spec.precision));
      if (rt.failed()) return false;
      AppendPadded(out, padded, "", *cut.s, '<', true);
    } else {
      AppendPadded(out, padded, "", str, '<', true);
    }
    return true;
  }
  const bool trusted = !value.tainted;
  if (value.is_integral()) {
    const std::string_view float_types = "eEfFgG%";
    if (spec.type != 0 && float_types.find(spec.type) != float_types.npos) {
      const double number = value.as_double();
      AppendNumber(out, spec, std::signbit(number), "", Magnitude(number, spec), 3, trusted);
      return true;
    }
    if (spec.precision >= 0) return bad();
    const int64_t number = value.as_int();
    if (spec.type == 'c') {
      if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return bad();
      std::string text;
      AppendUtf8(text, static_cast<char32_t>(number));
      Str body;
      body.text = text;
      body.num_runes = 1;
      if (trusted) body.trusted.push_back({0, text.size()});
      AppendPadded(out, spec, "", body, '<', trusted);
      return true;
    }
    if (spec.type != 0 && std::string_view("bdnoxX").find(spec.type) == std::string_view::npos)
      return bad();
    const bool is_decimal = spec.type == 0 || spec.type == 'd' || spec.type == 'n';
    const std::string prefix = spec.alternate && !is_decimal ? std::string("0") + spec.type : "";
    AppendNumber(out, spec, number < 0, prefix, Magnitude(number, spec.type), is_decimal ? 3 : 4,
                 trusted);
    return true;
  }
  if (value.kind == Kind::kFloat) {
    if (spec.type != 0 && std::string_view("eEfFgGn%").find(spec.type) == std::string_view::npos) {
      return bad();
    }
    AppendNumber(out, spec, std::signbit(value.d) && !std::isnan(value.d), "",
                 Magnitude(value.d, spec), 3, trusted);
    return true;
  }
  return bad();
}

}  // namespace

Value FormatValue(Runtime& rt, const Value& value, std::string_view text) {
  if (text.empty()) return rt.Str(value);
  if (value.is_undefined() || value.is_none() || value.kind == Kind::kObject) {
    return rt.Fail(std::string("unsupported format string passed to ") + TypeName(value));
  }
  Spec spec;
  if (!ParseSpec(text, &spec)) return rt.Fail("invalid format specifier");
  // format(True, "") is "True", but any other spec takes it as a number.
  TextBuilder out = rt.Builder();
  if (!AppendFormatted(rt, out, value, spec)) return {};
  return rt.Take(std::move(out));
}

namespace {

// The next argument of a % format: of a tuple, the single value, or a key of a dict.
class PercentArgs {
 public:
  PercentArgs(Runtime& rt, const Value& args) : rt_(rt), args_(args), tuple_(AsTuple(args)) {}

  bool Next(Value* out) {
    const size_t count = tuple_ != nullptr ? tuple_->items.size() : 1;
    if (used_ >= count) {
      rt_.Fail("not enough arguments for format string");
      return false;
    }
    *out = tuple_ != nullptr ? tuple_->items[used_] : args_;
    ++used_;
    return true;
  }
  bool Key(std::string_view key, bool trusted, Value* out) {
    const DictObject* dict = AsDict(args_);
    if (dict == nullptr) {
      rt_.Fail("format requires a mapping");
      return false;
    }
    const int64_t at = dict->Find(rt_.Text(key, trusted));
    if (at < 0) {
      rt_.Fail("format: the key '" + PrintableUtf8(key, 60) + "' is missing");
      return false;
    }
    by_key_ = true;
    *out = dict->items[static_cast<size_t>(at)].second;
    return true;
  }
  bool AllUsed() const {
    if (tuple_ != nullptr) return used_ >= tuple_->items.size();
    return used_ > 0 || by_key_ || AsDict(args_) != nullptr || AsList(args_) != nullptr;
  }

 private:
  Runtime& rt_;
  const Value& args_;
  const SequenceObject* tuple_;
  size_t used_ = 0;
  bool by_key_ = false;
};

bool AppendPercent(Runtime& rt, TextBuilder& out, char type, Spec spec, const Value& value,
                   bool markup) {
  if (type == 's' || type == 'r' || type == 'a') {
    Value text;
    if (type == 's') {
      text = markup ? rt.Escape(value) : rt.Str(value);
    } else {
      std::string repr;
      bool tainted = false;
      rt.AppendRepr(repr, value, &tainted);
      text = rt.Text(repr, !tainted);
    }
    if (rt.failed()) return false;
    if (spec.zero) spec.fill = ' ';
    if (spec.align != '<') spec.align = '>';
    spec.type = 0;
    spec.sign = '-';
    spec.alternate = false;
    return AppendFormatted(rt, out, text, spec);
  }
  if (type == 'c') {
    Value text = value;
    if (value.is_integral()) {
      spec.type = 'c';
      return AppendFormatted(rt, out, value, spec);
    }
    if (!value.is_string() || value.s->num_runes != 1) {
      rt.Fail("%c requires an integer or one character");
      return false;
    }
    if (spec.align != '<') spec.align = '>';
    spec.sign = '-';
    return AppendFormatted(rt, out, text, spec);
  }
  if (!value.is_number()) {
    rt.Fail(std::string("%") + type + " format: a number is required, not " + TypeName(value));
    return false;
  }
  Value number = value;
  const bool integer_type =
      type == 'd' || type == 'i' || type == 'u' || type == 'x' || type == 'X' || type == 'o';
  if (integer_type && value.kind == Kind::kFloat) {
    if (type == 'x' || type == 'X' || type == 'o' || !(std::fabs(value.d) < 9.2e18)) {
      rt.Fail(std::string("%") + type + " format: an integer is required, not float");
      return false;
    }
    number = Value::Int(static_cast<int64_t>(value.d), value.tainted);
  } else if (!integer_type) {
    number = Value::Float(value.as_double(), value.tainted);
  }
  if (integer_type && spec.precision >= 0) {
    // A precision of an integer is its least number of digits.
    const int64_t v = number.as_int();
    std::string digits = Magnitude(v, type == 'i' || type == 'u' ? 'd' : type);
    if (spec.precision > kMaxPrecision) {
      rt.Fail("format: expected a precision of at most 300", StatusCode::kUnsupported);
      return false;
    }
    while (static_cast<int64_t>(digits.size()) < spec.precision) digits.insert(digits.begin(), '0');
    AppendNumber(out, spec, v < 0, "", std::move(digits), 3, !value.tainted);
    return true;
  }
  spec.type = type == 'i' || type == 'u' ? 'd' : type;
  return AppendFormatted(rt, out, number, spec);
}

}  // namespace

Value PercentFormat(Runtime& rt, const Str& format, const Value& args) {
  TextBuilder out = rt.Builder();
  PercentArgs source(rt, args);
  const std::string& text = format.text;
  rt.Charge(text.size());
  size_t at = 0;
  while (at < text.size() && rt.Step()) {
    const size_t percent = std::min(text.find('%', at), text.size());
    out.AppendSlice(format, at, percent);
    at = percent + 1;
    if (percent >= text.size()) break;
    std::string_view rest = std::string_view(text).substr(at);
    Value value;
    bool has_value = false;
    if (rest.starts_with('(')) {
      size_t depth = 1, end = 1;
      while (end < rest.size() && depth > 0) {
        depth += rest[end] == '(' ? 1 : 0;
        depth -= rest[end] == ')' ? 1 : 0;
        ++end;
      }
      if (depth > 0) return rt.Fail("incomplete format key");
      if (!source.Key(rest.substr(1, end - 2), format.AllTrusted(), &value)) return {};
      rest.remove_prefix(end);
      has_value = true;
    }
    Spec spec;
    bool left = false;
    while (!rest.empty() && std::string_view("-+ #0").find(rest[0]) != std::string_view::npos) {
      if (rest[0] == '-') left = true;
      if (rest[0] == '+' || (rest[0] == ' ' && spec.sign != '+')) spec.sign = rest[0];
      if (rest[0] == '#') spec.alternate = true;
      if (rest[0] == '0') spec.zero = true;
      rest.remove_prefix(1);
    }
    if (spec.zero && !left) {
      spec.fill = '0';
      spec.align = '=';
    }
    const auto read_size = [&](int64_t* out_size) {
      if (!rest.starts_with('*')) {
        ReadNumber(rest, out_size);
        return true;
      }
      rest.remove_prefix(1);
      Value size;
      return source.Next(&size) && ReadInt(rt, size, "* in a format", out_size);
    };
    if (!read_size(&spec.width)) return {};
    if (spec.width < 0) {
      left = true;
      spec.width = spec.width == INT64_MIN ? INT64_MAX : -spec.width;
    }
    if (left) {
      spec.align = '<';
      spec.fill = ' ';
    }
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      spec.precision = 0;
      if (!read_size(&spec.precision)) return {};
      spec.precision = std::max<int64_t>(spec.precision, 0);
    }
    while (!rest.empty() && (rest[0] == 'l' || rest[0] == 'h' || rest[0] == 'L'))
      rest.remove_prefix(1);
    if (rest.empty()) return rt.Fail("incomplete format");
    const char type = rest[0];
    at = text.size() - rest.size() + 1;
    if (type == '%') {
      out.AppendSlice(format, at - 1, at);
      continue;
    }
    if (std::string_view("srcadiuxXoeEfFgG").find(type) == std::string_view::npos) {
      return rt.Fail("unsupported format character '" + std::string(1, type) + "'");
    }
    if (!has_value && !source.Next(&value)) return {};
    if (!AppendPercent(rt, out, type, spec, value, format.markup)) return {};
  }
  if (rt.failed()) return {};
  if (!source.AllUsed()) return rt.Fail("not all arguments converted during string formatting");
  return rt.Take(std::move(out), format.markup);
}

namespace {

class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Args& args, bool markup)
      : rt_(rt), args_(args), markup_(markup) {}

  bool Format(const Str& format, size_t begin, size_t end, int levels, TextBuilder& out) {
    if (levels < 0) {
      rt_.Fail("format: replacement fields nest too deeply");
      return false;
    }
    const std::string_view text(format.text);
    for (size_t at = begin; at < end && rt_.Step();) {
      const size_t brace = std::min(text.find_first_of("{}", at), end);
      out.AppendSlice(format, at, brace);
      if (brace >= end) break;
      at = brace + 1;
      if (at < end && text[at] == text[brace]) {
        out.AppendSlice(format, at, at + 1);
        ++at;
        continue;
      }
      if (text[brace] == '}') {
        rt_.Fail("format: single '}' encountered in format string");
        return false;
      }
      int depth = 1;
      size_t close = at;
      bool in_index = false;
      bool in_spec = false;
      for (; close < end; ++close) {
        if (!in_spec && text[close] == '[') in_index = true;
        if (in_index) {
          if (text[close] == ']') in_index = false;
          continue;
        }
        if (text[close] == ':' || text[close] == '!') in_spec = true;
        if (text[close] == '{') ++depth;
        if (text[close] == '}' && --depth == 0) break;
      }
      if (close >= end) {
        rt_.Fail("format: expected '}' before the end of the string");
        return false;
      }
      if (!AppendField(format, at, close, levels, out)) return false;
      at = close + 1;
    }
    return !rt_.failed();
  }

 private:
  bool AppendField(const Str& format, size_t begin, size_t end, int levels, TextBuilder& out) {
    const std::string_view text(format.text);
    size_t name_end = begin;
    bool in_index = false;
    while (name_end < end && (in_index || (text[name_end] != '!' && text[name_end] != ':'))) {
      if (text[name_end] == '[') in_index = true;
      if (text[name_end] == ']') in_index = false;
      ++name_end;
    }
    Value value;
    if (!Lookup(text.substr(begin, name_end - begin), format.AllTrusted(), &value)) return false;
    size_t spec_begin = name_end;
    if (spec_begin < end && text[spec_begin] == '!') {
      const char conversion = spec_begin + 1 < end ? text[spec_begin + 1] : 0;
      spec_begin += 2;
      if ((conversion != 's' && conversion != 'r' && conversion != 'a') ||
          (spec_begin < end && text[spec_begin] != ':')) {
        rt_.Fail("format: expected !s, !r or !a");
        return false;
      }
      if (conversion == 's') {
        value = rt_.Str(value);
      } else {
        std::string repr;
        bool tainted = false;
        rt_.AppendRepr(repr, value, &tainted);
        value = rt_.Text(repr, !tainted);
      }
    }
    std::string spec;
    if (spec_begin < end) {
      TextBuilder inner = rt_.Builder();
      if (!Format(format, spec_begin + 1, end, levels - 1, inner)) return false;
      spec = std::move(inner.text());
    }
    if (rt_.failed()) return false;
    Value formatted = value.is_string() && value.s->markup && spec.empty()
                          ? value
                          : FormatValue(rt_, value, spec);
    if (markup_ && !rt_.failed()) formatted = rt_.Escape(formatted);
    if (rt_.failed()) return false;
    out.Append(*formatted.s);
    return true;
  }

  // first(.name | [index])*
  bool Lookup(std::string_view name, bool trusted, Value* out) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, first_end);
    std::string_view digits = first;
    int64_t index = 0;
    const bool is_number = ReadNumber(digits, &index) && digits.empty();
    if (first.empty() || is_number) {
      if (first.empty()) {
        if (manual_) {
          rt_.Fail("format: cannot switch from manual field numbers to automatic ones");
          return false;
        }
        automatic_ = true;
        index = next_++;
      } else if (automatic_) {
        rt_.Fail("format: cannot switch from automatic field numbers to manual ones");
        return false;
      } else {
        manual_ = true;
      }
      if (index >= static_cast<int64_t>(args_.positional.size())) {
        rt_.Fail("format: there is no argument " + std::to_string(index));
        return false;
      }
      *out = args_.positional[static_cast<size_t>(index)];
    } else {
      const auto found = std::find_if(args_.named.begin(), args_.named.end(),
                                      [&](const auto& item) { return item.first == first; });
      if (found == args_.named.end()) {
        rt_.Fail("format: there is no argument '" + PrintableUtf8(first, 60) + "'");
        return false;
      }
      *out = found->second;
    }
    std::string_view rest = name.substr(first_end);
    while (!rest.empty() && !rt_.failed()) {
      if (rest[0] == '.') {
        const size_t end = std::min(rest.find_first_of(".[", 1), rest.size());
        *out = rt_.GetAttribute(*out, rest.substr(1, end - 1));
        rest.remove_prefix(end);
      } else if (rest[0] == '[' && rest.find(']') != rest.npos) {
        const size_t end = rest.find(']');
        std::string_view key = rest.substr(1, end - 1);
        std::string_view left = key;
        int64_t number = 0;
        const bool numeric = ReadNumber(left, &number) && left.empty();
        *out = rt_.GetItem(*out, numeric ? Value::Int(number) : rt_.Text(key, trusted));
        rest.remove_prefix(end + 1);
      } else {
        rt_.Fail("format: bad field name '" + PrintableUtf8(name, 60) + "'");
      }
    }
    return !rt_.failed();
  }

  Runtime& rt_;
  const Args& args_;
  const bool markup_;
  bool automatic_ = false, manual_ = false;
  int64_t next_ = 0;
};

}  // namespace

Value FormatMethod(Runtime& rt, const Value& self, Args& args) {
  TextBuilder out = rt.Builder();
  rt.Charge(self.s->text.size());
  BraceFormatter formatter(rt, args, self.s->markup);
  if (!formatter.Format(*self.s, 0, self.s->text.size(), 2, out)) return {};
  return rt.Take(std::move(out), self.s->markup);
}

}  // namespace rill::text::jinja
