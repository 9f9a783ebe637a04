// Claim and bank: when is it certain that everything that runs can finish?
//
// A running request holds pages that would come back at its end (`own`: those nobody else holds)
// and may still take `need` pages in the worst case. A set of claims is safe with `available`
// untaken pages when the requests can finish one after another, each with what is untaken plus what
// those before it gave back:
//
//   for some order:  need[k] <= available + sum of own[j] over j before k,  for every k
//
// With one kind of resource the order by ascending need serves if any does (Dijkstra's banker's
// algorithm, 1965; Habermann 1969). So a set is safe exactly when available >= bank:
//
//   bank = max over k, in ascending order of need, of (need[k] - sum of own[j] over j before k)
//
// The bank is the number of pages that must stay untaken.
#pragma once

#include <cstdint>
#include <vector>

namespace rill::engine {

struct Claim {
  int32_t need = 0;  // pages that may still be taken, in the worst case
  int32_t own = 0;   // pages held that nobody else holds
};

// 0 for no claims. O(n log n).
int32_t BankPages(std::vector<Claim> claims);

}  // namespace rill::engine
