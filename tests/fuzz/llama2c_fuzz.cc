// Any bytes as a llama2.c checkpoint and as its tokenizer.
#include <cstdint>

#include "io/llama2c.h"
#include "tensor_probe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rill::io;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto model = ParseLlama2c(bytes, "fuzz");
  if (model.ok()) {
    if (!IsLlama2c(bytes)) std::abort();
    rill::fuzz::ProbeTensors(model->tensors, data, size);
  }
  const auto vocab = ParseLlama2cVocab(bytes, "fuzz");
  if (vocab.ok() && vocab->pieces.size() != vocab->scores.size()) std::abort();
  return 0;
}
