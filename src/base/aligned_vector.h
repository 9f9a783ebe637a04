// A std::vector that begins on a cache line, for rows that kernels store whole vectors to: rows of
// logits that begin 16 bytes behind one have every 64-byte store in two lines (Zen 5, 64 rows of
// 49,152: the product that writes them takes 3.35 instead of 3.15 ms).
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace rill {

// Throws std::bad_alloc, as std::allocator does.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};

  CacheLineAllocator() = default;
  template <typename U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}  // NOLINT: as std::allocator

  T* allocate(size_t count) {
    if (count > static_cast<size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
    return static_cast<T*>(::operator new(count * sizeof(T), kAlignment));
  }
  void deallocate(T* data, size_t) noexcept { ::operator delete(data, kAlignment); }
  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
};

template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace rill
