// tokenizer.json from hostile bytes: a load error, or a tokenizer that encodes and decodes.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto tokenizer = rill::text::LoadTokenizerJson(bytes, "fuzz");
  if (!tokenizer.ok()) return 0;
  const std::string text = "Hello  w\xC3\xB6rld 123 \xE2\x96\x81<s> \xF0\x9F\x98\x80\n" +
                           std::string(bytes.substr(0, 64));
  const auto ids = (*tokenizer)->Encode(text, {.add_special = true, .parse_special = true});
  const std::string all = (*tokenizer)->Decode(ids);
  rill::text::IncrementalDetokenizer detokenizer(*tokenizer);
  std::string joined;
  for (const int32_t id : ids) joined += detokenizer.Push(id);
  joined += detokenizer.Finish();
  if (joined != all) __builtin_trap();
  return 0;
}
