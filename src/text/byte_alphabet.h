// The GPT-2 byte alphabet: each of the 256 bytes has a printable character that stands for it in
// vocabulary files. Bytes 0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF stand for themselves (as Latin-1); the
// other 68 are, in order, U+0100 … U+0143.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rill::text {

char32_t ByteToRune(unsigned char byte);
// -1 when no byte has this character.
int RuneToByte(char32_t rune);

// Appends the stand-ins of `bytes`.
void AppendByteLevel(std::string& out, std::string_view bytes);
// Appends the bytes that `text` stands for; false (and `out` unchanged) when some character of
// `text` stands for no byte.
bool AppendFromByteLevel(std::string& out, std::string_view text);

}  // namespace rill::text
