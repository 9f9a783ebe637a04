#include "text/byte_alphabet.h"

#include <array>

#include "base/utf8.h"

namespace rill::text {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kNumRunes = 0x144;

struct Alphabet {
  std::array<char32_t, 256> rune{};
  std::array<int16_t, kNumRunes> byte{};
};

constexpr Alphabet MakeAlphabet() {
  Alphabet a;
  for (auto& b : a.byte) b = -1;
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const char32_t rune = StandsForItself(b) ? static_cast<char32_t>(b) : next++;
    a.rune[static_cast<size_t>(b)] = rune;
    a.byte[rune] = static_cast<int16_t>(b);
  }
  return a;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

char32_t ByteToRune(unsigned char byte) {
  return kAlphabet.rune[byte];
}

int RuneToByte(char32_t rune) {
  return rune < kNumRunes ? kAlphabet.byte[rune] : -1;
}

void AppendByteLevel(std::string& out, std::string_view bytes) {
  for (const char c : bytes) AppendUtf8(out, ByteToRune(static_cast<unsigned char>(c)));
}

bool AppendFromByteLevel(std::string& out, std::string_view text) {
  const size_t old_size = out.size();
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    int byte = -1;
    size_t size = 1;
    if (c < 0x80) {
      byte = RuneToByte(c);
    } else if (c >= 0xC2 && c <= 0xC5 && i + 1 < text.size() &&
               (static_cast<unsigned char>(text[i + 1]) & 0xC0) == 0x80) {
      byte = RuneToByte(((c & 0x1Fu) << 6) | (static_cast<unsigned char>(text[i + 1]) & 0x3Fu));
      size = 2;
    }
    if (byte < 0) {
      out.resize(old_size);
      return false;
    }
    out += static_cast<char>(byte);
    i += size;
  }
  return true;
}

}  // namespace rill::text
