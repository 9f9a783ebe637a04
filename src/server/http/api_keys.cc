#include "server/http/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/small_file.h"
#include "server/http/head_parser.h"

namespace rill::server {

namespace {

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxFileBytes = size_t{1} << 20;

std::array<uint8_t, 32> Hash(std::string_view text) {
  std::array<uint8_t, 32> hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  return hash;
}

bool IsName(std::string_view name) {
  if (name.empty() || name.size() > 64) return false;
  for (char c : name) {
    const bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '.' || c == '_' || c == '-';
    if (!ok) return false;
  }
  return true;
}

Result<std::array<uint8_t, 32>> ParseHash(std::string_view hex) {
  std::array<uint8_t, 32> hash;
  if (hex.size() != 64) return InvalidArgument("sha256: expected 64 hexadecimal digits");
  for (size_t i = 0; i < 32; ++i) {
    const auto [end, error] =
        std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, hash[i], 16);
    if (error != std::errc() || end != hex.data() + 2 * i + 2) {
      return InvalidArgument("sha256: expected 64 hexadecimal digits");
    }
  }
  return hash;
}

// A comment begins with a '#' at the line's begin or after white space: a key may hold one.
size_t CommentBegin(std::string_view line) {
  size_t at = line.find('#');
  while (at != std::string_view::npos && at > 0 && line[at - 1] != ' ' && line[at - 1] != '\t') {
    at = line.find('#', at + 1);
  }
  return std::min(at, line.size());
}

template <typename T>
bool ParseNumber(std::string_view text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

Status ParseOption(const std::string& word, ApiKey* key) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
  if (word == "admin") {
    key->admin = true;
  } else if (name == "max_concurrent" || name == "requests_per_minute") {
    int number = 0;
    if (!ParseNumber(value, &number) || number < 1) {
      return InvalidArgument(name + ": expected a number of at least 1, got '" + value + "'");
    }
    (name == "max_concurrent" ? key->max_concurrent : key->requests_per_minute) = number;
  } else if (name == "weight") {
    if (!ParseNumber(value, &key->weight) || !(key->weight >= 0.001 && key->weight <= 1000)) {
      return InvalidArgument("weight: expected 0.001 to 1000, got '" + value + "'");
    }
  } else {
    // Not shown: it may be part of a key.
    return InvalidArgument(
        "expected admin, max_concurrent=N, requests_per_minute=N or weight=N after the key");
  }
  return OkStatus();
}

}  // namespace

Result<ApiKey> ApiKeys::FromText(std::string name, std::string_view key, bool admin) {
  if (!IsName(name)) {
    return InvalidArgument(
        "key name: expected 1 to 64 characters of letters, digits, '.', '_', '-'");
  }
  if (key.size() < 8 || key.size() > kMaxKeyBytes) {
    return InvalidArgument("key '" + name + "': expected 8 to 512 characters, got " +
                           std::to_string(key.size()));
  }
  for (char c : key) {
    if (c <= ' ' || c > '~') {
      return InvalidArgument("key '" + name + "': expected printable ASCII without spaces");
    }
  }
  ApiKey out;
  out.name = std::move(name);
  out.hash = Hash(key);
  out.admin = admin;
  return out;
}

Result<std::vector<ApiKey>> ApiKeys::Parse(std::string_view text, std::string_view culprit) {
  std::vector<ApiKey> keys;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::string where = std::string(culprit) + ":" + std::to_string(number);
    std::istringstream words(line.substr(0, CommentBegin(line)));
    std::string name, secret, word;
    if (!(words >> name)) continue;
    if (!(words >> secret)) return InvalidArgument(where + ": expected a key after the name");
    ApiKey key;
    if (secret.rfind("sha256:", 0) == 0) {
      if (!IsName(name)) return InvalidArgument(where + ": malformed key name");
      auto hash = ParseHash(std::string_view(secret).substr(7));
      if (!hash.ok()) return hash.status().WithPrefix(where);
      key.name = name;
      key.hash = *hash;
    } else {
      auto made = FromText(name, secret);
      if (!made.ok()) return made.status().WithPrefix(where);
      key = std::move(*made);
    }
    OPENSSL_cleanse(secret.data(), secret.size());
    OPENSSL_cleanse(line.data(), line.size());
    while (words >> word) {
      if (Status status = ParseOption(word, &key); !status.ok()) return status.WithPrefix(where);
    }
    keys.push_back(std::move(key));
    if (keys.size() > 10'000) return InvalidArgument(where + ": more than 10000 keys");
  }
  return keys;
}

Result<std::vector<ApiKey>> ApiKeys::ReadFile(const std::string& path) {
  RILL_ASSIGN_OR_RETURN(std::string text, ReadSmallFile(path, kMaxFileBytes));
  auto keys = Parse(text, path);
  OPENSSL_cleanse(text.data(), text.size());
  return keys;
}

Result<ApiKeys> ApiKeys::Create(std::vector<ApiKey> keys) {
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (keys[i].name == keys[j].name) {
        return InvalidArgument("API keys: two are named '" + keys[i].name + "'");
      }
      if (keys[i].hash == keys[j].hash) {
        return InvalidArgument("API keys: '" + keys[j].name + "' and '" + keys[i].name +
                               "' are the same key");
      }
    }
  }
  ApiKeys out;
  out.keys_ = std::move(keys);
  return out;
}

int ApiKeys::Find(std::string_view key) const {
  const std::array<uint8_t, 32> hash = Hash(key);
  int found = -1;
  for (size_t i = 0; i < keys_.size(); ++i) {
    // No branch on the comparison: the mask is all ones for the equal one.
    const int equal = CRYPTO_memcmp(hash.data(), keys_[i].hash.data(), hash.size()) == 0;
    const int mask = -equal;
    found = (found & ~mask) | (static_cast<int>(i) & mask);
  }
  return found;
}

}  // namespace rill::server
