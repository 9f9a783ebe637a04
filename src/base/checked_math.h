// Arithmetic on sizes that come from outside: the result, or nothing when it does not fit.
#pragma once

#include <concepts>
#include <optional>

namespace rill {

template <std::integral T>
constexpr std::optional<T> CheckedAdd(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> CheckedMul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// Smallest multiple of `alignment` (a power of two, > 0) that is >= value.
template <std::unsigned_integral T>
constexpr std::optional<T> CheckedAlignUp(T value, T alignment) {
  auto sum = CheckedAdd<T>(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

}  // namespace rill
