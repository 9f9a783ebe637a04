// Filters on sequences and dicts, listed in filters.cc.
#pragma once

#include "text/jinja/runtime.h"

namespace rill::text::jinja::sequence {

Value Batch(Runtime& rt, const Value& self, Args& args);
Value DictSort(Runtime& rt, const Value& self, Args& args);
Value First(Runtime& rt, const Value& self, Args& args);
Value GroupBy(Runtime& rt, const Value& self, Args& args);
Value Items(Runtime& rt, const Value& self, Args& args);
Value Join(Runtime& rt, const Value& self, Args& args);
Value Last(Runtime& rt, const Value& self, Args& args);
Value Map(Runtime& rt, const Value& self, Args& args);
Value Max(Runtime& rt, const Value& self, Args& args);
Value Min(Runtime& rt, const Value& self, Args& args);
Value Reject(Runtime& rt, const Value& self, Args& args);
Value RejectAttr(Runtime& rt, const Value& self, Args& args);
Value Reverse(Runtime& rt, const Value& self, Args& args);
Value Select(Runtime& rt, const Value& self, Args& args);
Value SelectAttr(Runtime& rt, const Value& self, Args& args);
Value Slice(Runtime& rt, const Value& self, Args& args);
Value Sort(Runtime& rt, const Value& self, Args& args);
Value Sum(Runtime& rt, const Value& self, Args& args);
Value ToList(Runtime& rt, const Value& self, Args& args);
Value Unique(Runtime& rt, const Value& self, Args& args);

}  // namespace rill::text::jinja::sequence
