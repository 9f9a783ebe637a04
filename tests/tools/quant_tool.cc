// Driver for tests/oracle/test_quant.py: decodes or encodes a raw file.
//   quant_tool decode <dtype> <blocks file> <f32 file>
//   quant_tool encode <dtype> <f32 file> <blocks file>
//   quant_tool types            prints "name block_weights block_bytes gguf_id encoding" lines;
//                               encoding: 0 none, 1 rounded, 2 searched (quantize_list.def)
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "quant/dequant.h"
#include "quant/quantize.h"

namespace {

std::vector<char> ReadFile(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int Fail(const std::string& message) {
  std::fprintf(stderr, "quant_tool: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using rill::DTypeTraits;
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "types") {
    for (const DTypeTraits& t : rill::kDTypeTraits) {
      std::printf("%s %d %d %d %d\n", std::string(t.name).c_str(), t.block_weights, t.block_bytes,
                  t.gguf_type,
                  static_cast<int>(rill::quant::EncodingOf(*rill::DTypeFromName(t.name))));
    }
    return 0;
  }
  if (argc != 5 || (command != "decode" && command != "encode")) return Fail("see the source");
  const auto dtype = rill::DTypeFromName(argv[2]);
  if (!dtype) return Fail("unknown dtype");
  const DTypeTraits& traits = rill::Traits(*dtype);
  const std::vector<char> in = ReadFile(argv[3]);
  std::vector<char> out;
  rill::Status status;
  if (command == "decode") {
    const int64_t n = static_cast<int64_t>(in.size()) / traits.block_bytes * traits.block_weights;
    std::vector<float> values(static_cast<size_t>(n));
    status = rill::quant::DequantizeRow(*dtype, in.data(), n, values.data());
    const char* bytes = reinterpret_cast<const char*>(values.data());
    out.assign(bytes, bytes + values.size() * sizeof(float));
  } else {
    const int64_t n = static_cast<int64_t>(in.size() / sizeof(float));
    out.resize(static_cast<size_t>(n / traits.block_weights * traits.block_bytes));
    status =
        rill::quant::QuantizeRow(*dtype, reinterpret_cast<const float*>(in.data()), n, out.data());
  }
  if (!status.ok()) return Fail(status.ToString());
  std::ofstream(argv[4], std::ios::binary)
      .write(out.data(), static_cast<std::streamsize>(out.size()));
  return 0;
}
