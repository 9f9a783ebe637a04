// The merge loop that every BPE shares.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace rill::text {

struct BpeSymbol {
  int32_t id = -1;     // token id, or negative for what has none
  uint32_t begin = 0;  // byte range in the piece
  uint32_t end = 0;
  int32_t prev = -1;
  int32_t next = -1;    // index, or -1; a merged-away symbol has end == begin
  bool frozen = false;  // never merges
};

// Merges `symbols` in place until no rule applies. `find(left, right, rank, merged_id)` looks a
// rule up. Afterwards the live symbols are those with end > begin, in order.
template <typename Find>
void MergeSymbols(std::vector<BpeSymbol>& symbols, const Find& find) {
  constexpr size_t kScanLimit = 40;  // below, scanning beats the queue
  constexpr uint32_t kNoRank = ~uint32_t{0};
  const size_t count = symbols.size();
  if (count < 2) return;

  if (count <= kScanLimit) {
    uint32_t ranks[kScanLimit];
    int32_t merged[kScanLimit];
    size_t live = count;
    const auto look = [&](size_t i) {
      ranks[i] = kNoRank;
      if (i + 1 < live && !find(symbols[i], symbols[i + 1], ranks[i], merged[i])) {
        ranks[i] = kNoRank;
      }
    };
    for (size_t i = 0; i < live; ++i) look(i);
    while (live > 1) {
      const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + live) - ranks);
      if (ranks[best] == kNoRank) break;
      symbols[best].id = merged[best];
      symbols[best].end = symbols[best + 1].end;
      std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
                symbols.begin() + static_cast<std::ptrdiff_t>(live),
                symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      std::copy(ranks + best + 2, ranks + live, ranks + best + 1);
      std::copy(merged + best + 2, merged + live, merged + best + 1);
      --live;
      look(best);
      if (best > 0) look(best - 1);
    }
    symbols.resize(live);
    return;
  }

  struct Entry {
    uint64_t key;   // rank, then position: the leftmost of equal rules first
    uint32_t span;  // bytes of both symbols; another span means that the entry is stale
    int32_t merged;
    bool operator>(const Entry& other) const { return key > other.key; }
  };
  std::vector<Entry> heap;
  heap.reserve(count);
  const auto entry = [&](int32_t left) {
    const int32_t right = symbols[static_cast<size_t>(left)].next;
    if (right < 0) return false;
    const BpeSymbol& l = symbols[static_cast<size_t>(left)];
    const BpeSymbol& r = symbols[static_cast<size_t>(right)];
    uint32_t rank = 0;
    int32_t merged = -1;
    if (!find(l, r, rank, merged)) return false;
    heap.push_back({(static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(left),
                    r.end - l.begin, merged});
    return true;
  };
  for (size_t i = 0; i < count; ++i) {
    symbols[i].prev = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < count ? static_cast<int32_t>(i) + 1 : -1;
  }
  for (size_t i = 0; i + 1 < count; ++i) entry(static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const Entry top = heap.back();
    heap.pop_back();
    const auto left = static_cast<int32_t>(top.key & 0xFFFFFFFFu);
    BpeSymbol& l = symbols[static_cast<size_t>(left)];
    if (l.end == l.begin || l.next < 0) continue;
    BpeSymbol& r = symbols[static_cast<size_t>(l.next)];
    if (r.end - l.begin != top.span) continue;
    l.id = top.merged;
    l.end = r.end;
    r.begin = r.end;
    l.next = r.next;
    if (r.next >= 0) symbols[static_cast<size_t>(r.next)].prev = left;
    if (entry(left)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    if (l.prev >= 0 && entry(l.prev)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
}

}  // namespace rill::text
