// Where a sorted list would be cut, without sorting it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sampling/workspace.h"

namespace rill::sampling {

inline constexpr int32_t kBoundaryBuckets = 4096;

// The last element to keep, in the order (key ascending, place ascending).
struct Boundary {
  float key = 0.0f;
  int32_t place = -1;
  bool Keeps(float other_key, int32_t other_place) const {
    // Bitwise: a branch would be mispredicted for every other token.
    return (other_key < key) | ((other_key == key) & (other_place <= place));
  }
};

// Of `places`, which hold the boundary: the last to keep, when `before` is the mass in front of
// them. Weighted quickselect, O(places) expected. Reorders `places`.
template <typename Key, typename Mass>
Boundary SelectBoundary(std::vector<int32_t>& places, Key key, Mass mass, uint64_t before,
                        uint64_t target) {
  const auto less = [&](int32_t a, int32_t b) {
    const float ka = key(a), kb = key(b);
    return ka < kb || (ka == kb && a < b);
  };
  // [low, high) holds the boundary, `before` is the mass in front of it.
  auto low = places.begin();
  auto high = places.end();
  while (high - low > 32) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, less);
    uint64_t left = 0;
    for (auto it = low; it != middle; ++it) left += mass(*it);
    if (before + left >= target) {
      high = middle;
    } else {
      before += left;
      low = middle;
    }
  }
  std::sort(low, high, less);
  while (low + 1 < high && before + mass(*low) < target) before += mass(*low++);
  return {key(*low), *low};
}

// The shortest prefix, in that order, of elements [0, count) whose mass is at least `target`
// (1 <= target <= total mass). Key(i) and Mass(i) give an element's key (not NaN) and mass.
// Keys are put in equal ranges of 1 / `scale` from `first_key` on, the last one open: a good scale
// makes it fast, any scale >= 0 makes it right. O(count) expected.
template <typename Key, typename Mass>
Boundary FindBoundary(int32_t count, Key key, Mass mass, uint64_t target, float first_key,
                      float scale, SamplerWorkspace& workspace) {
  // Rounding of subtraction and multiplication is monotonic, so buckets respect the order. The
  // comparison also catches infinity, and NaN from infinity * 0.
  const auto bucket_of = [&](float k) {
    const float t = (k - first_key) * scale;
    return t < static_cast<float>(kBoundaryBuckets - 1) ? static_cast<int32_t>(t)
                                                        : kBoundaryBuckets - 1;
  };
  workspace.histogram.assign(kBoundaryBuckets, 0);
  uint64_t* histogram = workspace.histogram.data();
  for (int32_t i = 0; i < count; ++i) histogram[bucket_of(key(i))] += mass(i);
  uint64_t before = 0;
  int32_t crossing = 0;
  while (crossing < kBoundaryBuckets - 1 && before + histogram[crossing] < target) {
    before += histogram[crossing++];
  }
  auto& places = workspace.places;
  places.clear();
  for (int32_t i = 0; i < count; ++i) {
    if (bucket_of(key(i)) == crossing) places.push_back(i);
  }
  return SelectBoundary(places, key, mass, before, target);
}

}  // namespace rill::sampling
