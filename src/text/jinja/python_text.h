// What Python's str knows about characters: classes, case, repr, and float repr.
#pragma once

#include <string>
#include <string_view>

namespace rill::text::jinja {

bool IsPythonSpace(char32_t rune);  // str.isspace, also what strip() and \s mean
bool IsLineBreak(char32_t rune);    // str.splitlines; "\r\n" counts once
bool IsAlpha(char32_t rune);        // categories L*
bool IsDecimal(char32_t rune);      // Nd
bool IsDigit(char32_t rune);        // Nd and superscript or circled digits
bool IsNumeric(char32_t rune);      // Nd, Nl, No
bool IsAlnum(char32_t rune);
bool IsPrintable(char32_t rune);
bool IsUpper(char32_t rune);
bool IsLower(char32_t rune);
bool IsTitle(char32_t rune);  // Lt
bool IsCased(char32_t rune);
bool IsCaseIgnorable(char32_t rune);  // for the final sigma rule
bool IsIdentifierStart(char32_t rune);
bool IsIdentifierPart(char32_t rune);

// Full case mapping of one character (1 to 3 characters), appended as UTF-8.
void AppendUpper(std::string& out, char32_t rune);
void AppendLower(std::string& out, char32_t rune);
void AppendTitle(std::string& out, char32_t rune);
void AppendFolded(std::string& out, char32_t rune);

int64_t CountRunes(std::string_view text);

// repr(str): quotes and escapes.
void AppendStringRepr(std::string& out, std::string_view text);
// repr(float): shortest digits that round-trip, exponent below 1e-4 and from 1e16.
std::string FloatRepr(double value);

// int(text, base) for text of one optional sign, digits and underscores, blanks around.
// Returns false when it is not a number; sets *overflow when it does not fit 64 bits.
bool ParsePythonInt(std::string_view text, int base, int64_t* value, bool* overflow);
// float(text).
bool ParsePythonFloat(std::string_view text, double* value);

}  // namespace rill::text::jinja
