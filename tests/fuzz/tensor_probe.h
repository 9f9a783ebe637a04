// For fuzz targets: reads what a parsed directory promises, so that a view that leaves the input
// is found by the address sanitizer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "io/check_tensors.h"
#include "io/tensor_directory.h"
#include "quant/dequant.h"

namespace rill::fuzz {

inline void ProbeTensors(const io::TensorDirectory& tensors, const uint8_t* data, size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  for (const io::TensorEntry& entry : tensors.entries()) {
    if (tensors.Find(entry.name) != &entry) std::abort();
    const auto bytes = static_cast<size_t>(entry.view.SizeBytes());
    // Inside the input, or (a misaligned safetensors tensor) in memory of its own.
    if (tensors.files().empty() && bytes > 0 &&
        (entry.view.data < begin || bytes > size || entry.view.data > begin + (size - bytes))) {
      std::abort();
    }
    const int64_t n = std::min<int64_t>(entry.view.shape.NumElements(), 1024);
    std::vector<float> out(static_cast<size_t>(n));
    (void)quant::DequantizeRow(entry.view.dtype, entry.view.data, n, out.data());
    if (bytes > 0) {
      volatile std::byte last = entry.view.data[bytes - 1];
      (void)last;
    }
  }
  (void)io::CheckTensors(tensors);
}

}  // namespace rill::fuzz
