// Looks at every weight of a model for values that no healthy model has.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/tensor_directory.h"
#include "rill/status.h"

namespace rill::io {

struct TensorDefect {
  std::string name;
  int64_t num_nan = 0;
  int64_t num_inf = 0;
  int64_t first_index = 0;  // of the first NaN or Inf, counted over the flattened tensor
};

struct TensorReport {
  int64_t num_elements = 0;   // looked at
  int64_t num_subnormal = 0;  // f32 subnormals after decoding: harmless, but slow on some CPUs
  std::vector<TensorDefect> defects;  // in file order
  // "tensor 'x': 3 NaN, 0 Inf, the first at element 17 (and 2 more tensors)"; empty when healthy.
  std::string Summary() const;
};

// Decodes everything (quant/dequant.h), so it reads the whole file: about as long as a cold read.
// Inside a quantised block one Inf or NaN scale makes all its weights count; MXFP4's scale 255, NaN
// by its standard, makes 32 NaN though its decoder has numbers for it (quant/mxfp4.h).
// on_bytes(done, total) (may be null) hears at least each 16 MiB.
TensorReport CheckTensors(
    const TensorDirectory& tensors,
    const std::function<void(int64_t done, int64_t total)>& on_bytes = nullptr);

// The same question answered quickly, for every load: looks at the scales of blocks and at plain
// floats only, and in a file of more than `max_bytes` at all vectors and at evenly spread runs of
// 4 KiB of the rest, so that it takes a few ms. What it finds is there; what is between the runs it
// does not see: a backend looks at each number that it loads. Where it looks, it counts what
// CheckTensors counts; num_subnormal is not counted.
TensorReport SampleTensors(const TensorDirectory& tensors, uint64_t max_bytes = 32u << 20);

}  // namespace rill::io
