// Runtime's Python operators: printing, comparison, arithmetic, subscripts.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/loop.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"
#include "text/jinja/string_ops.h"

namespace rill::text::jinja {

void Runtime::AppendStr(TextBuilder& out, const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined: return;
    case Kind::kString: out.Append(*value.s); return;
    case Kind::kNone: out.Append("None", !value.tainted); return;
    case Kind::kBool: out.Append(value.b ? "True" : "False", !value.tainted); return;
    case Kind::kInt: out.Append(std::to_string(value.i), !value.tainted); return;
    case Kind::kFloat: out.Append(FloatRepr(value.d), !value.tainted); return;
    case Kind::kObject: break;
  }
  std::string text;
  bool tainted = false;
  AppendRepr(text, value, &tainted);
  out.Append(text, !tainted);
}

void Runtime::AppendRepr(std::string& out, const Value& value, bool* tainted, int depth) {
  if (!Step()) return;
  if (out.size() > limits_.max_output_bytes || depth > 1000) {
    Fail("a printed value is larger than " + std::to_string(limits_.max_output_bytes) + " bytes",
         StatusCode::kResourceExhausted);
    return;
  }
  switch (value.kind) {
    case Kind::kUndefined: out += "Undefined"; return;
    case Kind::kString:
      *tainted |= !value.s->AllTrusted();
      if (value.s->markup) out += "Markup(";
      AppendStringRepr(out, value.s->text);
      if (value.s->markup) out += ")";
      return;
    case Kind::kNone: out += "None"; break;
    case Kind::kBool: out += value.b ? "True" : "False"; break;
    case Kind::kInt: out += std::to_string(value.i); break;
    case Kind::kFloat: out += FloatRepr(value.d); break;
    case Kind::kObject: break;
  }
  if (value.kind != Kind::kObject) {
    *tainted |= value.tainted;
    return;
  }
  *tainted |= value.o->tainted;
  const auto append_items = [&](const std::vector<Value>& items) {
    for (size_t i = 0; i < items.size() && !failed(); ++i) {
      if (i > 0) out += ", ";
      AppendRepr(out, items[i], tainted, depth + 1);
    }
  };
  switch (value.o->type) {
    case ObjectType::kList:
      out += '[';
      append_items(static_cast<SequenceObject*>(value.o)->items);
      out += ']';
      return;
    case ObjectType::kTuple: {
      const auto& items = static_cast<SequenceObject*>(value.o)->items;
      out += '(';
      append_items(items);
      out += items.size() == 1 ? ",)" : ")";
      return;
    }
    case ObjectType::kDict: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : static_cast<DictObject*>(value.o)->items) {
        if (failed()) return;
        if (!first) out += ", ";
        first = false;
        AppendRepr(out, key, tainted, depth + 1);
        out += ": ";
        AppendRepr(out, item, tainted, depth + 1);
      }
      out += '}';
      return;
    }
    case ObjectType::kDictView: {
      std::vector<Value> items;
      if (!Collect(value, &items)) return;
      out += std::string(TypeName(value)) + "([";
      append_items(items);
      out += "])";
      return;
    }
    case ObjectType::kRange: {
      const auto* range = static_cast<RangeObject*>(value.o);
      out += "range(" + std::to_string(range->start) + ", " + std::to_string(range->stop);
      if (range->step != 1) out += ", " + std::to_string(range->step);
      out += ')';
      return;
    }
    case ObjectType::kNamespace: {
      out += "<Namespace {";
      bool first = true;
      for (const auto& [key, item] : static_cast<NamespaceObject*>(value.o)->attributes) {
        if (failed()) return;
        if (!first) out += ", ";
        first = false;
        AppendStringRepr(out, key);
        out += ": ";
        AppendRepr(out, item, tainted, depth + 25);  // a namespace can hold itself
      }
      out += "}>";
      return;
    }
    case ObjectType::kLoop: {
      auto* loop = static_cast<LoopObject*>(value.o);
      out += "<LoopContext " + std::to_string(loop->index0 + 1) + "/" +
             std::to_string(loop->Length(*this)) + ">";
      return;
    }
    default: out += std::string("<") + TypeName(value) + " object>"; return;
  }
}

Value Runtime::Str(const Value& value) {
  if (value.is_string() && !value.s->markup) return value;
  TextBuilder builder = Builder();
  AppendStr(builder, value);
  return Take(std::move(builder));
}

Value Runtime::StrKeepMarkup(const Value& value) {
  return value.is_string() ? value : Str(value);
}

Value Runtime::Escape(const Value& value) {
  if (value.is_string() && value.s->markup) return value;
  const Value text = Str(value);
  if (failed()) return {};
  TextBuilder builder = Builder();
  const std::string& bytes = text.s->text;
  size_t copied = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char* entity = nullptr;
    switch (bytes[i]) {
      case '&': entity = "&amp;"; break;
      case '<': entity = "&lt;"; break;
      case '>': entity = "&gt;"; break;
      case '"': entity = "&#34;"; break;
      case '\'': entity = "&#39;"; break;
      default: continue;
    }
    builder.AppendSlice(*text.s, copied, i);
    builder.Append(entity, text.s->TrustedAt(i));
    copied = i + 1;
  }
  builder.AppendSlice(*text.s, copied, bytes.size());
  return Take(std::move(builder), /*markup=*/true);
}

bool Runtime::Compare(const Value& a, const Value& b, std::string_view op) {
  if (!Step()) return false;
  const auto decide = [&](auto left, auto right) {
    if (op == "<") return left < right;
    if (op == "<=") return left <= right;
    if (op == ">") return left > right;
    return left >= right;
  };
  if (a.is_integral() && b.is_integral()) return decide(a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return decide(a.as_double(), b.as_double());
  if (a.is_string() && b.is_string()) {
    Charge(std::min(a.s->text.size(), b.s->text.size()));
    // UTF-8 sorts as its code points do.
    return decide(a.s->text.compare(b.s->text), 0);
  }
  const SequenceObject* left = AsSequence(a);
  const SequenceObject* right = AsSequence(b);
  if (left != nullptr && right != nullptr && left->type == right->type) {
    const size_t common = std::min(left->items.size(), right->items.size());
    if (!ChargeWalk(a)) return false;
    for (size_t i = 0; i < common && Step(); ++i) {
      if (!ValuesEqual(left->items[i], right->items[i])) {
        return Compare(left->items[i], right->items[i], op);
      }
    }
    return decide(left->items.size(), right->items.size());
  }
  if (a.is_undefined() || b.is_undefined()) {
    UndefinedError(a.is_undefined() ? a : b);
  } else {
    Fail(std::string("'") + std::string(op) + "' is not defined between '" + TypeName(a) +
         "' and '" + TypeName(b) + "'");
  }
  return false;
}

bool Runtime::Contains(const Value& container, const Value& item) {
  if (!Step()) return false;
  if (container.is_string()) {
    if (!item.is_string()) {
      Fail(std::string("'in <string>' requires a string on its left, got '") + TypeName(item) +
           "'");
      return false;
    }
    Charge(container.s->text.size());
    return FindText(container.s->text, item.s->text) != std::string_view::npos;
  }
  if (!ChargeWalk(item)) return false;
  if (const DictObject* dict = AsDict(container)) {
    if (!IsHashable(item)) {
      Fail(std::string("unhashable type: '") + TypeName(item) + "'");
      return false;
    }
    return dict->Find(item) >= 0;
  }
  if (!IsIterable(container)) {
    Fail(std::string("argument of type '") + TypeName(container) + "' is not iterable");
    return false;
  }
  Iteration iteration(*this, container);
  Value candidate;
  while (iteration.Next(&candidate)) {
    if (!ChargeWalk(candidate)) return false;
    if (ValuesEqual(candidate, item)) return true;
  }
  return false;
}

namespace {

// Bytes of a repeated text that are appended at once.
constexpr int64_t kRepeatBlock = 4096;

// Python's floor division and modulo of 64-bit integers; b != 0.
int64_t FloorMod(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && ((r < 0) != (b < 0)) ? r + b : r;
}

double FloorMod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0) {
    if ((b < 0) != (r < 0)) r += b;
  } else {
    r = std::copysign(0.0, b);
  }
  return r;
}

}  // namespace

Value Runtime::Negate(const Value& value) {
  if (value.is_integral()) {
    const int64_t v = value.as_int();
    if (v == INT64_MIN) return Fail("integer overflow", StatusCode::kUnsupported);
    return Value::Int(-v, value.tainted);
  }
  if (value.kind == Kind::kFloat) return Value::Float(-value.d, value.tainted);
  if (value.is_undefined()) return UndefinedError(value);
  return Fail(std::string("bad operand for unary -: '") + TypeName(value) + "'");
}

Value Runtime::Positive(const Value& value) {
  if (value.is_integral()) return Value::Int(value.as_int(), value.tainted);
  if (value.kind == Kind::kFloat) return value;
  if (value.is_undefined()) return UndefinedError(value);
  return Fail(std::string("bad operand for unary +: '") + TypeName(value) + "'");
}

Value Runtime::Binary(std::string_view op, const Value& a, const Value& b) {
  if (!Step()) return {};
  const char c = op[0];
  if (c == '%' && a.is_string()) return PercentFormat(*this, *a.s, b);
  if (a.is_undefined() || b.is_undefined()) return UndefinedError(a.is_undefined() ? a : b);
  if (c == '+' && a.is_string() && b.is_string()) {
    const bool markup = a.s->markup || b.s->markup;
    const Value left = markup ? Escape(a) : a;
    const Value right = markup ? Escape(b) : b;
    if (failed()) return {};
    TextBuilder builder = Builder();
    builder.Append(*left.s);
    builder.Append(*right.s);
    return Take(std::move(builder), markup);
  }
  if (c == '+') {
    const SequenceObject* left = AsSequence(a);
    const SequenceObject* right = AsSequence(b);
    if (left != nullptr && right != nullptr && left->type == right->type) {
      ReserveMemory(0);
      std::vector<Value> items = left->items;
      items.insert(items.end(), right->items.begin(), right->items.end());
      Step(static_cast<int64_t>(items.size() / 4));
      return left->type == ObjectType::kList ? List(std::move(items)) : Tuple(std::move(items));
    }
  }
  if (op == "*" && (a.is_integral() || b.is_integral()) && !(a.is_number() && b.is_number())) {
    const Value& repeated = a.is_integral() ? b : a;
    int64_t times = std::max<int64_t>(0, a.is_integral() ? a.as_int() : b.as_int());
    if (repeated.is_string()) {
      if (repeated.s->text.empty()) times = 0;
      TextBuilder builder = Builder();
      // A short text first becomes a longer one: a call for each byte of 'a' * 16000000 costs more
      // than its bytes are charged.
      const auto size = static_cast<int64_t>(repeated.s->text.size());
      const int64_t per_block = std::min<int64_t>(times, size > 0 ? kRepeatBlock / size : 0);
      if (per_block > 1) {
        TextBuilder block = Builder();
        for (int64_t i = 0; i < per_block; ++i) block.Append(*repeated.s);
        const Value long_text = Take(std::move(block));
        if (failed()) return {};
        for (; times >= per_block && !builder.overflowed(); times -= per_block) {
          builder.Append(*long_text.s);
        }
      }
      for (; times > 0 && !builder.overflowed(); --times) builder.Append(*repeated.s);
      return Take(std::move(builder), repeated.s->markup);
    }
    if (const SequenceObject* sequence = AsSequence(repeated)) {
      std::vector<Value> items;
      if (sequence->items.empty()) times = 0;
      for (int64_t i = 0; i < times && Step(static_cast<int64_t>(sequence->items.size())); ++i) {
        ReserveMemory(sequence->items.size() * sizeof(Value));
        items.insert(items.end(), sequence->items.begin(), sequence->items.end());
      }
      return sequence->type == ObjectType::kList ? List(std::move(items)) : Tuple(std::move(items));
    }
  }
  if (!a.is_number() || !b.is_number()) {
    return Fail(std::string("operator '") + std::string(op) + "' is not defined between '" +
                TypeName(a) + "' and '" + TypeName(b) + "'");
  }
  const bool tainted = a.tainted || b.tainted;
  const bool divides = c == '/' || c == '%';
  if (divides && b.as_double() == 0) return Fail("division by zero");
  if (a.is_integral() && b.is_integral() && op != "/") {
    const int64_t x = a.as_int(), y = b.as_int();
    int64_t result = 0;
    bool overflow = false;
    if (op == "+") {
      overflow = __builtin_add_overflow(x, y, &result);
    } else if (op == "-") {
      overflow = __builtin_sub_overflow(x, y, &result);
    } else if (op == "*") {
      overflow = __builtin_mul_overflow(x, y, &result);
    } else if (op == "%") {
      result = FloorMod(x, y);
    } else if (op == "//") {
      overflow = x == INT64_MIN && y == -1;
      if (!overflow) result = (x - FloorMod(x, y)) / y;
    } else {  // **
      if (y < 0) {
        if (x == 0) return Fail("0 cannot be raised to a negative power");
        return Value::Float(std::pow(static_cast<double>(x), static_cast<double>(y)), tainted);
      }
      result = 1;
      const bool small = x >= -1 && x <= 1;
      if (small) {
        result = x == -1 ? (y % 2 == 0 ? 1 : -1) : (y == 0 ? 1 : x);
      } else {
        for (int64_t i = 0; i < y && !overflow; ++i) {
          overflow = __builtin_mul_overflow(result, x, &result);
        }
      }
    }
    if (overflow) return Fail("integer overflow: expected 64 bits", StatusCode::kUnsupported);
    return Value::Int(result, tainted);
  }
  const double x = a.as_double(), y = b.as_double();
  if (op == "+") return Value::Float(x + y, tainted);
  if (op == "-") return Value::Float(x - y, tainted);
  if (op == "*") return Value::Float(x * y, tainted);
  if (op == "/") return Value::Float(x / y, tainted);
  if (op == "%") return Value::Float(FloorMod(x, y), tainted);
  if (op == "//") {
    const double mod = FloorMod(x, y);
    const double quotient = (x - mod) / y;
    double floored = std::floor(quotient);
    if (quotient - floored > 0.5) floored += 1;
    return Value::Float(quotient == 0 ? std::copysign(0.0, x / y) : floored, tainted);
  }
  if (x == 0 && y < 0) return Fail("0.0 cannot be raised to a negative power");
  if (x < 0 && y != std::floor(y)) return Fail("complex numbers are not supported");
  const double power = std::pow(x, y);
  if (std::isinf(power) && !std::isinf(x) && !std::isinf(y)) return Fail("float overflow in **");
  return Value::Float(power, tainted);
}

Value Runtime::GetSlice(const Value& object, const Value& start, const Value& stop,
                        const Value& step) {
  if (!Step()) return {};
  if (object.is_undefined()) return UndefinedError(object);
  const SequenceObject* sequence = AsSequence(object);
  const auto* range = AsObject<RangeObject>(object, ObjectType::kRange);
  if (!object.is_string() && sequence == nullptr && range == nullptr) {
    return Fail(std::string("'") + TypeName(object) + "' object cannot be sliced");
  }
  const int64_t length = Length(object);
  int64_t stride = 1;
  if (!step.is_none() && !ReadInt(*this, step, "slice step", &stride)) return {};
  if (stride == 0) return Fail("slice step cannot be zero");
  stride = std::clamp<int64_t>(stride, -length - 1, length + 1);  // no item differs
  const int64_t low = stride < 0 ? -1 : 0, high = stride < 0 ? length - 1 : length;
  const auto bound = [&](const Value& value, int64_t absent) -> int64_t {
    int64_t at = absent;
    if (value.is_none()) return at;
    if (!ReadInt(*this, value, "slice index", &at)) return 0;
    if (at < 0) return at < -length ? low : std::max(at + length, low);
    return std::min(at, high);
  };
  const int64_t begin = bound(start, stride < 0 ? high : low);
  const int64_t end = bound(stop, stride < 0 ? low : high);
  if (failed()) return {};
  const int64_t count = stride > 0 ? (end > begin ? (end - begin - 1) / stride + 1 : 0)
                                   : (begin > end ? (begin - end - 1) / -stride + 1 : 0);
  if (object.is_string()) {
    const jinja::Str& str = *object.s;
    Charge(str.text.size());
    if (stride == 1) {
      if (count == 0) return Slice(str, 0, 0);
      const size_t first = str.ByteOffset(begin);
      return Slice(str, first, str.ByteOffset(begin + count));
    }
    std::vector<size_t> offsets;
    if (!str.ascii()) {
      ReserveMemory(0);
      for (size_t i = 0; i < str.text.size(); ++i) {
        if ((static_cast<unsigned char>(str.text[i]) & 0xC0) != 0x80) offsets.push_back(i);
      }
      offsets.push_back(str.text.size());
    }
    TextBuilder builder = Builder();
    Step(count / 16);
    for (int64_t i = 0; i < count; ++i) {
      const auto rune = static_cast<size_t>(begin + i * stride);
      const size_t first = offsets.empty() ? rune : offsets[rune];
      builder.AppendSlice(str, first, offsets.empty() ? rune + 1 : offsets[rune + 1]);
    }
    return Take(std::move(builder), str.markup);
  }
  if (range != nullptr) {
    auto* out = New<RangeObject>();
    out->start = range->start + begin * range->step;
    out->step = range->step * stride;
    out->stop = range->start + end * range->step;
    out->count = count;
    return Value::Obj(out);
  }
  std::vector<Value> items;
  if (!Step(count / 4)) return {};
  items.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    items.push_back(sequence->items[static_cast<size_t>(begin + i * stride)]);
  }
  Value out =
      sequence->type == ObjectType::kList ? List(std::move(items)) : Tuple(std::move(items));
  out.o->tainted = object.o->tainted;
  return out;
}

}  // namespace rill::text::jinja
