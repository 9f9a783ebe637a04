// Any bytes as JSON: parse, read with every accessor, write, and read the same back.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/json.h"

namespace {

void Visit(const rill::Json& json) {
  if (json.is_array()) {
    for (const rill::Json& child : json.array()) Visit(child);
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.object()) {
      if (json.Find(key) != &value) std::abort();  // keys are unique
      (void)json.GetInt(key, 1);
      (void)json.GetDouble(key, 1);
      (void)json.GetBool(key, true);
      (void)json.GetString(key, "");
      Visit(value);
    }
  } else if (json.is_number()) {
    (void)json.number_value();
    if (json.FitsInt64()) (void)json.int_value();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = rill::Json::Parse(text, "fuzz", {.max_nodes = 10'000});
  if (!json.ok()) return 0;
  Visit(*json);
  const std::string dumped = json->Dump();
  const auto again = rill::Json::Parse(dumped, "dumped");
  if (!again.ok() || again->Dump() != dumped || again->Dump(2) != json->Dump(2)) std::abort();
  return 0;
}
