// Any bytes as a GGUF file: parse, then use everything that the parser let through.
#include <cstdint>

#include "io/gguf.h"
#include "tensor_probe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rill::io;
  const auto file = ParseGguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  uint64_t sum = 0;
  for (const auto& [key, value] : file->metadata.pairs()) {
    if (file->metadata.Find(key) != &value) std::abort();
    const auto strings = file->metadata.GetStrings(key);
    if (strings.ok()) {
      for (std::string_view text : **strings)
        sum += text.empty() ? 0u : static_cast<uint8_t>(text.back());
    }
    const auto text = file->metadata.GetString(key);
    if (text.ok() && !(*text)->empty()) sum += static_cast<uint8_t>((*text)->back());
    (void)file->metadata.GetInt(key);
    (void)file->metadata.GetFloat(key);
    (void)file->metadata.GetBool(key);
    (void)file->metadata.GetInts(key);
    (void)file->metadata.GetFloats(key);
  }
  rill::fuzz::ProbeTensors(file->tensors, data, size);
  return sum == 1 ? 0 : 0;
}
