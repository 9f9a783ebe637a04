#if defined(__GNUC__) && !defined(__clang__)
// GCC takes a floating comparison for something that may trap, and leaves such loops scalar. No
// result changes: exception flags are never read. Twice as fast.
#pragma GCC optimize("no-trapping-math")
#endif

#include "sampling/row_passes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "base/cpu_features.h"
#include "sampling/exact_math.h"

namespace rill::sampling {
namespace {

constexpr size_t kLanes = 32;  // independent chains: the compiler puts them in vector lanes
constexpr uint32_t kExponentMask = 0x7F800000u;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool IsNonFinite(float value) {
  return (std::bit_cast<uint32_t>(value) & kExponentMask) == kExponentMask;
}

// Each pass is one loop, compiled for the baseline and for AVX2.
#define RILL_PASS [[gnu::always_inline]] static inline
struct Passes {
  RILL_PASS int64_t FirstNonFinite(const float* values, size_t count) {
    // Blocks keep the common case free of branches and find the culprit in the rare one.
    constexpr size_t kBlock = 1024;
    for (size_t begin = 0; begin < count; begin += kBlock) {
      const size_t end = std::min(begin + kBlock, count);
      uint32_t bad = 0;
      for (size_t i = begin; i < end; ++i) bad |= IsNonFinite(values[i]) ? 1u : 0u;
      if (!bad) continue;
      for (size_t i = begin; i < end; ++i) {
        if (IsNonFinite(values[i])) return static_cast<int64_t>(i);
      }
    }
    return -1;
  }

  RILL_PASS float MaxOf(const float* values, size_t count) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = -kInfinity;
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) {
        lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
      }
    }
    for (; i < count; ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
    return *std::max_element(lanes, lanes + kLanes);
  }

  RILL_PASS int64_t ArgMax(const float* values, size_t count) {
    const float max = MaxOf(values, count);
    constexpr size_t kBlock = 256;
    for (size_t begin = 0; begin < count; begin += kBlock) {
      const size_t end = std::min(begin + kBlock, count);
      uint32_t found = 0;
      for (size_t i = begin; i < end; ++i) found |= values[i] == max ? 1u : 0u;
      if (!found) continue;
      for (size_t i = begin; i < end; ++i) {
        if (values[i] == max) return static_cast<int64_t>(i);
      }
    }
    return -1;
  }

  RILL_PASS float SmallestFinite(const float* values, size_t count, float start) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = start;
    auto take = [](float value, float& lane) {
      const float allowed = value > -kInfinity ? value : kInfinity;
      lane = allowed < lane ? allowed : lane;
    };
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (size_t j = 0; j < kLanes; ++j) take(values[i + j], lanes[j]);
    }
    for (; i < count; ++i) take(values[i], lanes[0]);
    return *std::min_element(lanes, lanes + kLanes);
  }

  RILL_PASS int64_t CountAtLeast(const float* values, size_t count, float limit) {
    int64_t found = 0;
    constexpr size_t kBlock = 4096;
    for (size_t begin = 0; begin < count; begin += kBlock) {
      const size_t end = std::min(begin + kBlock, count);
      int32_t here = 0;
      for (size_t i = begin; i < end; ++i) here += values[i] >= limit ? 1 : 0;
      found += here;
    }
    return found;
  }

  RILL_PASS Mass MassAtLeast(const float* values, const uint64_t* weights, size_t count,
                             float limit) {
    uint64_t mass = 0;
    for (size_t i = 0; i < count; ++i) mass += values[i] >= limit ? weights[i] : uint64_t{0};
    return {mass, CountAtLeast(values, count, limit)};
  }

  RILL_PASS int64_t PlacesBetween(const float* values, size_t count, float low, float high,
                                  int32_t* out) {
    int64_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      out[kept] = static_cast<int32_t>(i);
      kept += (values[i] >= low) & (values[i] < high);
    }
    return kept;
  }

  RILL_PASS uint64_t ExpWeights(const float* logits, size_t count, double max,
                                double inv_temperature, uint64_t* weights) {
    uint64_t total = 0;
    for (size_t i = 0; i < count; ++i) {
      weights[i] = ExpWeight(logits[i], max, inv_temperature);
      total += weights[i];
    }
    return total;
  }
};
#undef RILL_PASS

#if defined(__x86_64__)
#define RILL_DISPATCH(Result, Name, Parameters, ...)     \
  [[gnu::target("avx2")]] Result Name##Avx2 Parameters { \
    return Passes::Name(__VA_ARGS__);                    \
  }                                                      \
  Result Name##Baseline Parameters {                     \
    return Passes::Name(__VA_ARGS__);                    \
  }
#define RILL_CALL(Name, ...) \
  return GetCpuFeatures().avx2 ? Name##Avx2(__VA_ARGS__) : Name##Baseline(__VA_ARGS__)
#else
#define RILL_DISPATCH(Result, Name, Parameters, ...) \
  Result Name##Baseline Parameters {                 \
    return Passes::Name(__VA_ARGS__);                \
  }
#define RILL_CALL(Name, ...) return Name##Baseline(__VA_ARGS__)
#endif

using Row = std::span<const float>;
RILL_DISPATCH(int64_t, FirstNonFinite, (Row v), v.data(), v.size())
RILL_DISPATCH(float, MaxOf, (Row v), v.data(), v.size())
RILL_DISPATCH(int64_t, ArgMax, (Row v), v.data(), v.size())
RILL_DISPATCH(float, SmallestFinite, (Row v, float start), v.data(), v.size(), start)
RILL_DISPATCH(int64_t, CountAtLeast, (Row v, float limit), v.data(), v.size(), limit)
RILL_DISPATCH(Mass, MassAtLeast, (Row v, const uint64_t* w, float limit), v.data(), w, v.size(),
              limit)
#if defined(__x86_64__)
// For each set of eight lanes, a byte each: the lanes that are in it, in order, then zeros.
constexpr std::array<uint64_t, 256> kLanesOf = [] {
  std::array<uint64_t, 256> table{};
  for (uint32_t set = 0; set < 256; ++set) {
    int shift = 0;
    for (uint64_t lane = 0; lane < 8; ++lane) {
      if ((set >> lane & 1u) == 0) continue;
      table[set] |= lane << shift;
      shift += 8;
    }
  }
  return table;
}();

// Compilers do not find this one: eight comparisons as one number, and the lanes that it names.
[[gnu::target("avx2,popcnt")]] int64_t PlacesBetweenAvx2(Row v, float low, float high,
                                                         int32_t* out) {
  using Floats = float __attribute__((vector_size(32)));
  using Ints = int32_t __attribute__((vector_size(32)));
  using Bytes = uint8_t __attribute__((vector_size(8)));
  // __builtin_bit_cast: std::bit_cast is a function, and outside this one a vector of 32 bytes has
  // no agreed way to be returned.
  int64_t kept = 0;
  size_t i = 0;
  for (; i + 8 <= v.size(); i += 8) {
    Floats x;
    std::memcpy(&x, v.data() + i, sizeof x);
    const Ints inside = (x >= low) & (x < high);
    const auto set =
        static_cast<uint32_t>(__builtin_ia32_movmskps256(__builtin_bit_cast(Floats, inside)));
    const Ints lanes = __builtin_convertvector(__builtin_bit_cast(Bytes, kLanesOf[set]), Ints) +
                       static_cast<int32_t>(i);
    // kept <= i, so all eight are inside out.
    std::memcpy(out + kept, &lanes, sizeof lanes);
    kept += std::popcount(set);
  }
  for (; i < v.size(); ++i) {
    if (v[i] >= low && v[i] < high) out[kept++] = static_cast<int32_t>(i);
  }
  return kept;
}
#endif
int64_t PlacesBetweenBaseline(Row v, float low, float high, int32_t* out) {
  return Passes::PlacesBetween(v.data(), v.size(), low, high, out);
}
RILL_DISPATCH(uint64_t, ExpWeights, (Row v, double max, double inv, uint64_t* w), v.data(),
              v.size(), max, inv, w)

}  // namespace

int64_t FirstNonFinite(std::span<const float> values) {
  RILL_CALL(FirstNonFinite, values);
}
float MaxOf(std::span<const float> values) {
  RILL_CALL(MaxOf, values);
}
int64_t ArgMax(std::span<const float> values) {
  RILL_CALL(ArgMax, values);
}
float SmallestFinite(std::span<const float> values, float start) {
  RILL_CALL(SmallestFinite, values, start);
}
int64_t CountAtLeast(std::span<const float> values, float limit) {
  RILL_CALL(CountAtLeast, values, limit);
}
Mass MassAtLeast(std::span<const float> values, const uint64_t* weights, float limit) {
  RILL_CALL(MassAtLeast, values, weights, limit);
}
int64_t PlacesBetween(std::span<const float> values, float low, float high, int32_t* out) {
  RILL_CALL(PlacesBetween, values, low, high, out);
}
uint64_t ExpWeights(std::span<const float> logits, double max, double inv_temperature,
                    uint64_t* weights) {
  RILL_CALL(ExpWeights, logits, max, inv_temperature, weights);
}

}  // namespace rill::sampling
