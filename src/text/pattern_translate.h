// Regular expressions of tokenizer.json, written in Oniguruma's syntax, as PCRE2 patterns.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::text::internal {

// The same pattern for PCRE2 with UTF, UCP and MULTILINE. What differs between the two is spelt
// out, so that a match means the same characters:
//   - \w \W \b \B, \h \H, \v, \O, \uHHHH; POSIX brackets and properties of Unicode strings; \p{Han}
//     is the script (PCRE2 takes its script extensions);
//   - sets inside sets ([a[bc]]) and intersections ([\p{L}&&[^\p{Han}]]);
//   - (?m:.), {,n}, and {n,m}+, which is not possessive.
// `is_script(name)`: PCRE2 knows this script. The result is linear in `regex`.
// Errors: kInvalidArgument for a set that does not end or is nested more than 32 deep, and for
// names of properties and brackets that are none.
Result<std::string> TranslatePattern(std::string_view regex,
                                     const std::function<bool(std::string_view)>& is_script);

}  // namespace rill::text::internal
