// Buffers that all samplers share on one thread; they grow to the vocabulary's size once.
#pragma once

#include <cstdint>
#include <vector>

namespace rill::sampling {

struct SamplerWorkspace {
  std::vector<float> logits;
  std::vector<uint32_t> allowed;
  std::vector<int32_t> ids;
  std::vector<float> keys;
  std::vector<uint64_t> weights, kept_weights;
  std::vector<uint64_t> histogram;
  std::vector<int32_t> places;
};

}  // namespace rill::sampling
