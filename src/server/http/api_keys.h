// API keys: who may call, under which name, within which limits.
//
// Only SHA-256 hashes are kept. A key is looked up by comparing its hash with every stored one in
// constant time (CRYPTO_memcmp, no early end), so the time tells nothing about the keys.
//
// A key file has one key a line, '#' starts a comment:
//   NAME  sha256:HEX | KEY  [admin] [max_concurrent=N] [requests_per_minute=N] [weight=N]
// A key in clear is hashed while reading. NAME is what logs, metrics and the fair share call it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"

namespace rill::server {

struct ApiKey {
  std::string name;  // 1 to 64 characters of [A-Za-z0-9._-]
  std::array<uint8_t, 32> hash{};
  bool admin = false;
  int max_concurrent = 0;       // requests in flight; 0: no limit
  int requests_per_minute = 0;  // 0: no limit
  double weight = 1;            // share between keys, for the scheduler
};

class ApiKeys {
 public:
  ApiKeys() = default;

  // `culprit` starts every error: the file's name. A duplicate name or key is an error. Errors
  // never hold a key's text.
  static Result<std::vector<ApiKey>> Parse(std::string_view text, std::string_view culprit);
  // A regular file of at most 1 MiB.
  static Result<std::vector<ApiKey>> ReadFile(const std::string& path);
  // One key in clear, from the environment or the command line.
  static Result<ApiKey> FromText(std::string name, std::string_view key, bool admin = false);

  static Result<ApiKeys> Create(std::vector<ApiKey> keys);

  bool empty() const { return keys_.empty(); }
  const std::vector<ApiKey>& keys() const { return keys_; }
  // Index of the key, or -1. Takes the same time for every answer.
  int Find(std::string_view key) const;

 private:
  std::vector<ApiKey> keys_;
};

}  // namespace rill::server
