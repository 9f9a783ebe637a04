#include "sampling/argmax.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace rill::sampling {
namespace {

constexpr size_t kLanes = 16;  // independent chains: the compiler puts them in vector lanes
constexpr uint32_t kExponentMask = 0x7F800000u;

bool IsNonFinite(float value) {
  return (std::bit_cast<uint32_t>(value) & kExponentMask) == kExponentMask;
}

}  // namespace

int64_t FirstNonFinite(std::span<const float> values) {
  // Blocks keep the common case free of branches and find the culprit in the rare one.
  constexpr size_t kBlock = 1024;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, values.size());
    uint32_t bad = 0;
    for (size_t i = begin; i < end; ++i) bad |= IsNonFinite(values[i]) ? 1u : 0u;
    if (!bad) continue;
    for (size_t i = begin; i < end; ++i) {
      if (IsNonFinite(values[i])) return static_cast<int64_t>(i);
    }
  }
  return -1;
}

float MaxOf(std::span<const float> values) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
    }
  }
  for (; i < values.size(); ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

int64_t ArgMax(std::span<const float> values) {
  const float max = MaxOf(values);
  const auto found = std::find(values.begin(), values.end(), max);
  return found == values.end() ? -1 : found - values.begin();
}

}  // namespace rill::sampling
