// String operations that methods and filters share.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "text/jinja/runtime.h"

namespace rill::text::jinja {

// Byte offset of the first `needle` at or after `from`, or npos; linear time (two-way search),
// which std::string::find does not promise.
size_t FindText(std::string_view text, std::string_view needle, size_t from = 0);
// The last one; its worst case is the product of the sizes, and is charged.
size_t FindTextBack(Runtime& rt, std::string_view text, std::string_view needle);

enum class StripSide { kLeft, kRight, kBoth };
enum class CaseMap { kUpper, kLower, kTitle, kCapitalize, kSwap, kFold };

// text.strip(chars): blanks when `chars` is null or None.
Value StripText(Runtime& rt, const Value& text, const Value* chars, StripSide side);
// text.replace(from, to, count): all when count < 0.
Value ReplaceText(Runtime& rt, const Str& text, const Str& from, const Str& to, int64_t count,
                  bool markup);
Value MapCase(Runtime& rt, const Str& text, CaseMap map);
std::vector<Value> SplitLines(Runtime& rt, const Str& text, bool keep_ends);
// text.split() without separator: calls add(begin, end) for each piece; right to left for rsplit.
void SplitBlanks(Runtime& rt, const Str& text, bool from_right, int64_t max_splits,
                 const std::function<void(size_t, size_t)>& add);
// str.isupper / str.islower.
bool IsCaseText(std::string_view text, bool upper);

}  // namespace rill::text::jinja
