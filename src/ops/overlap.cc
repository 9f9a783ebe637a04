#include "ops/overlap.h"

#include <algorithm>
#include <vector>

namespace rill::ops {
namespace {

struct Run {
  const std::byte* begin;
  const std::byte* end;
};

constexpr int64_t kMaxRuns = int64_t{1} << 20;

// One past the last byte of the view; its first byte is view.data.
const std::byte* End(const TensorView& view) {
  int64_t last = 0;
  for (int i = 0; i < view.rank(); ++i) last += (view.dim(i) - 1) * view.stride(i);
  return view.data + (last + 1) * Traits(view.dtype).block_bytes;
}

// Contiguous pieces of the view in order of address; empty when there are more than kMaxRuns.
std::vector<Run> Runs(const TensorView& view) {
  int64_t run_length = 1;
  int outer = view.rank();
  while (outer > 0 && (view.stride(outer - 1) == run_length || view.dim(outer - 1) == 1)) {
    run_length *= view.dim(--outer);
  }
  int64_t num_runs = 1;
  for (int i = 0; i < outer; ++i) {
    num_runs *= view.dim(i);
    if (num_runs > kMaxRuns) return {};
  }
  const int64_t bytes = Traits(view.dtype).block_bytes;
  std::vector<Run> runs;
  runs.reserve(static_cast<size_t>(num_runs));
  std::array<int64_t, kMaxDims> index{};
  for (int64_t r = 0; r < num_runs; ++r) {
    int64_t offset = 0;
    for (int i = 0; i < outer; ++i) offset += index[static_cast<size_t>(i)] * view.stride(i);
    const std::byte* begin = view.data + offset * bytes;
    runs.push_back({begin, begin + run_length * bytes});
    for (int i = outer - 1; i >= 0; --i) {
      if (++index[static_cast<size_t>(i)] < view.dim(i)) break;
      index[static_cast<size_t>(i)] = 0;
    }
  }
  std::sort(runs.begin(), runs.end(), [](Run a, Run b) { return a.begin < b.begin; });
  return runs;
}

}  // namespace

bool Overlap(const TensorView& a, const TensorView& b) {
  if (a.shape.NumElements() == 0 || b.shape.NumElements() == 0) return false;
  if (End(a) <= b.data || End(b) <= a.data) return false;
  const std::vector<Run> runs_a = Runs(a);
  const std::vector<Run> runs_b = Runs(b);
  if (runs_a.empty() || runs_b.empty()) return true;
  for (size_t i = 0, j = 0; i < runs_a.size() && j < runs_b.size();) {
    if (runs_a[i].begin < runs_b[j].end && runs_b[j].begin < runs_a[i].end) return true;
    (runs_a[i].end < runs_b[j].end ? i : j) += 1;
  }
  return false;
}

bool SelfOverlap(const TensorView& view) {
  if (view.shape.NumElements() <= 1) return false;
  const std::vector<Run> runs = Runs(view);
  for (size_t i = 1; i < runs.size(); ++i) {
    if (runs[i].begin < runs[i - 1].end) return true;
  }
  return runs.empty();
}

bool SameView(const TensorView& a, const TensorView& b) {
  if (a.data != b.data || a.dtype != b.dtype || !(a.shape == b.shape)) return false;
  for (int i = 0; i < a.rank(); ++i) {
    if (a.dim(i) > 1 && a.stride(i) != b.stride(i)) return false;
  }
  return true;
}

}  // namespace rill::ops
