#include "kv/prefix_key.h"

#include <openssl/evp.h>
#include <sys/random.h>

#include <cerrno>
#include <new>
#include <vector>

#include "base/check.h"

namespace rill::kv {
namespace {

void AppendInteger(std::vector<uint8_t>& out, uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

PrefixKey Sha256(const std::vector<uint8_t>& bytes) {
  PrefixKey key;
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), key.bytes.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();  // the one thing it may lack here
  }
  CHECK(size == key.bytes.size()) << size;
  return key;
}

}  // namespace

PrefixHasher::PrefixHasher() {
  // From the kernel, which takes no memory for it; OpenSSL's generator does, and fails without.
  ssize_t size;
  do {
    size = ::getrandom(secret_.data(), secret_.size(), 0);
  } while (size < 0 && errno == EINTR);
  // Without randomness the keys could be foreseen: no engine then.
  CHECK(size == static_cast<ssize_t>(secret_.size())) << "the system gives no random bytes";
}

PrefixKey PrefixHasher::Root(std::string_view tenant, std::string_view salt) const {
  std::vector<uint8_t> bytes(secret_.begin(), secret_.end());
  bytes.push_back(0);
  AppendInteger(bytes, tenant.size(), 8);
  bytes.insert(bytes.end(), tenant.begin(), tenant.end());
  bytes.insert(bytes.end(), salt.begin(), salt.end());
  return Sha256(bytes);
}

PrefixKey PrefixHasher::Next(const PrefixKey& before, std::span<const int32_t> token_ids) const {
  std::vector<uint8_t> bytes;
  bytes.reserve(secret_.size() + 1 + before.bytes.size() + token_ids.size() * 4);
  bytes.insert(bytes.end(), secret_.begin(), secret_.end());
  bytes.push_back(1);
  bytes.insert(bytes.end(), before.bytes.begin(), before.bytes.end());
  for (int32_t id : token_ids) AppendInteger(bytes, static_cast<uint32_t>(id), 4);
  return Sha256(bytes);
}

}  // namespace rill::kv
