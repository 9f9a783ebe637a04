// Base64 (RFC 4648, standard alphabet, padding optional), for tokenizer files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rill::text {

// nullopt when a character is outside the alphabet.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace rill::text
