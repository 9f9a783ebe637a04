// Any bytes as a safetensors file.
#include <cstdint>

#include "io/safetensors.h"
#include "tensor_probe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rill::io::TensorDirectory tensors;
  const rill::Status status =
      rill::io::ParseSafetensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz", tensors);
  if (status.ok()) {
    rill::fuzz::ProbeTensors(tensors, data, size);
  } else if (status.message().empty()) {
    std::abort();
  }
  return 0;
}
