// SHA-256 of a stream of bytes (FIPS 180-4), by OpenSSL.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::llm {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Reset();
  void Update(std::string_view bytes);
  // 64 lower-case hexadecimal digits; only Reset() may follow.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Hash of a whole file. `keep_going` is asked now and then; false ends it with kCancelled.
Result<std::string> Sha256OfFile(const std::string& path,
                                 const std::function<bool(uint64_t done_bytes)>& keep_going = {});

// The id git gives a file's contents: SHA-1 of "blob <size>\0" and the bytes, 40 digits. What the
// Hub lists for files that are not in its large-file store.
Result<std::string> GitBlobId(const std::string& path);

}  // namespace rill::llm
