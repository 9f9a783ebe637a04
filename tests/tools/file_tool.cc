// Driver for tests/oracle/test_files.py: what OpenModel reads, as JSON on standard output.
//   file_tool <model path>
// {"metadata": [[key, type, value]], "tensors": [[name, dtype, [shape], hash]], "config": {…}};
// strings are hashed (they may be any bytes), arrays are [element type, values], hashes are FNV-1a
// in hexadecimal.
#include <cstdio>
#include <string>

#include "base/json.h"
#include "io/model_source.h"

namespace {

using rill::Json;
using rill::io::GgufArray;

std::string Hash(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

Json ArrayToJson(const GgufArray& array) {
  Json::Array out;
  std::visit(
      [&](const auto& list) {
        for (const auto& value : list) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string_view>) {
            out.emplace_back(Hash(value));
          } else {
            out.emplace_back(value);
          }
        }
      },
      array.values);
  return Json::Array{Json(std::string(rill::io::GgufTypeName(array.element_type))),
                     Json(std::move(out))};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto source = rill::io::OpenModel(argv[1]);
  if (!source.ok()) {
    std::fprintf(stderr, "%s\n", source.status().ToString().c_str());
    return 1;
  }
  Json::Array metadata, tensors;
  if (source->gguf) {
    for (const auto& [key, value] : source->gguf->pairs()) {
      Json json;
      if (const auto* array = std::get_if<GgufArray>(&value.value)) {
        json = ArrayToJson(*array);
      } else if (const auto* text = std::get_if<std::string_view>(&value.value)) {
        json = Json(Hash(*text));
      } else if (const auto* flag = std::get_if<bool>(&value.value)) {
        json = Json(*flag);
      } else if (const auto* i = std::get_if<int64_t>(&value.value)) {
        json = Json(*i);
      } else if (const auto* u = std::get_if<uint64_t>(&value.value)) {
        json = Json(*u);
      } else if (const auto* d = std::get_if<double>(&value.value)) {
        json = Json(*d);
      }
      metadata.emplace_back(Json::Array{Json(std::string(key)),
                                        Json(std::string(rill::io::GgufTypeName(value.type))),
                                        std::move(json)});
    }
  }
  for (const auto& entry : source->tensors.entries()) {
    Json::Array shape;
    for (int i = 0; i < entry.view.rank(); ++i) shape.emplace_back(entry.view.dim(i));
    const std::string_view bytes(reinterpret_cast<const char*>(entry.view.data),
                                 static_cast<size_t>(entry.view.SizeBytes()));
    tensors.emplace_back(Json::Array{Json(entry.name),
                                     Json(std::string(rill::DTypeName(entry.view.dtype))),
                                     Json(std::move(shape)), Json(Hash(bytes))});
  }
  Json out;
  out.Set("metadata", std::move(metadata));
  out.Set("tensors", std::move(tensors));
  out.Set("config", source->config);
  std::puts(out.Dump().c_str());
  return 0;
}
