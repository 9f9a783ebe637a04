// Character classes as the Hugging Face `tokenizers` library has them where they differ from the
// current Unicode tables: parts of it use tables that were frozen at older versions, and a token id
// depends on them.
#pragma once

namespace rill::text {

// Punctuation of BertPreTokenizer and Punctuation: ASCII punctuation and Unicode P*.
bool IsReferencePunctuation(char32_t rune);
// What BertNormalizer's clean_text drops: control, format and private-use characters, but not
// tab, line feed and carriage return.
bool IsReferenceControl(char32_t rune);
// Mn: what BertNormalizer's strip_accents drops.
bool IsReferenceNonspacing(char32_t rune);
// M*: what StripAccents drops.
bool IsReferenceMark(char32_t rune);
// Characters with a compatibility decomposition that the library's tables do not have yet.
bool IsNewCompatibilityRune(char32_t rune);
// Marks whose combining class the library takes to be 0: canonical ordering leaves them in place.
bool HasNoReferenceCombiningClass(char32_t rune);
// Simple lower case; U+0130 (whose lower case is two characters) stays as it is.
char32_t ToLowerRune(char32_t rune);

}  // namespace rill::text
