// Header and table of a pack file. Checksums are made right first, so that what they protect is
// reached: input: the file's size (8 bytes), then the table.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "io/pack_file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using rill::io::PackDirectory;
  const auto check = [](std::span<const std::byte> head, uint64_t file_bytes) {
    const auto parsed = rill::io::ParsePackDirectory(head, file_bytes);
    if (!parsed.ok()) {
      if (parsed.status().message().empty()) std::abort();
      return;
    }
    uint64_t end = 0;
    for (const rill::io::PackRun& run : parsed->runs) {
      if (run.offset % PackDirectory::kAlign != 0 || run.offset < end) std::abort();
      if (run.offset > file_bytes || run.size_bytes > file_bytes - run.offset) std::abort();
      if (run.hashes.size() > head.size() / 8) std::abort();
      end = run.offset + run.size_bytes;
    }
    // What was understood is what would be written.
    const std::string again = parsed->Encode();
    if (again.size() > head.size()) std::abort();
  };
  check(std::as_bytes(std::span(data, size)), size);
  if (size < 8) return 0;
  uint64_t file_bytes;
  std::memcpy(&file_bytes, data, 8);
  const std::string table(reinterpret_cast<const char*>(data) + 8, size - 8);
  std::string head = "RILLPACK";
  const auto put = [&head](uint64_t value, size_t bytes = 8) {
    head.append(reinterpret_cast<const char*>(&value), bytes);
  };
  put(1, 4);
  put(0, 4);
  put(table.size());
  put(file_bytes);
  put(XXH3_64bits(table.data(), table.size()));
  put(XXH3_64bits(head.data(), head.size()));
  head += table;
  check(std::as_bytes(std::span(head)), file_bytes);
  return 0;
}
