#include "io/check_tensors.h"

#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "quant/dequant.h"
#include "quant/scale_fields.h"

namespace rill::io {

std::string TensorReport::Summary() const {
  if (defects.empty()) return {};
  const TensorDefect& first = defects.front();
  std::string text = "tensor '" + PrintableUtf8(first.name, 100) +
                     "': " + std::to_string(first.num_nan) + " NaN, " +
                     std::to_string(first.num_inf) + " Inf, the first at element " +
                     std::to_string(first.first_index);
  if (defects.size() > 1) {
    text += " (and " + std::to_string(defects.size() - 1) + " more tensors)";
  }
  return text;
}

namespace {

constexpr int64_t kChunk = 4096;  // elements; a multiple of every block size

// Looks at elements [begin, begin + count), whole blocks and at most kChunk. false: no decoder.
bool LookAt(const TensorView& view, int64_t begin, int64_t count, TensorReport& report,
            TensorDefect& defect) {
  float values[kChunk];
  const DTypeTraits& traits = Traits(view.dtype);
  const std::byte* source = view.data + begin / traits.block_weights * traits.block_bytes;
  if (!quant::DequantizeRow(view.dtype, source, count, values).ok()) return false;
  quant::MarkNanScales(view.dtype, source, count, values);
  for (int64_t i = 0; i < count; ++i) {
    const int kind = std::fpclassify(values[i]);
    report.num_subnormal += kind == FP_SUBNORMAL;
    if (kind != FP_NAN && kind != FP_INFINITE) continue;
    if (defect.num_nan + defect.num_inf == 0) defect.first_index = begin + i;
    (kind == FP_NAN ? defect.num_nan : defect.num_inf) += 1;
  }
  return true;
}

}  // namespace

TensorReport CheckTensors(const TensorDirectory& tensors,
                          const std::function<void(int64_t done, int64_t total)>& on_bytes) {
  constexpr int64_t kReportBytes = int64_t{16} << 20;
  const auto total_bytes = static_cast<int64_t>(tensors.TotalBytes());
  int64_t done_bytes = 0, reported_bytes = 0;
  TensorReport report;
  for (const TensorEntry& entry : tensors.entries()) {
    const DTypeTraits& traits = Traits(entry.view.dtype);
    const int64_t num_elements = entry.view.shape.NumElements();
    TensorDefect defect;
    for (int64_t begin = 0; begin < num_elements; begin += kChunk) {
      const int64_t n = std::min(kChunk, num_elements - begin);
      if (!LookAt(entry.view, begin, n, report, defect)) break;
      done_bytes += n / traits.block_weights * traits.block_bytes;
      if (on_bytes && done_bytes - reported_bytes >= kReportBytes) {
        reported_bytes = done_bytes;
        on_bytes(done_bytes, total_bytes);
      }
    }
    report.num_elements += num_elements;
    if (defect.num_nan + defect.num_inf > 0) {
      defect.name = entry.name;
      report.defects.push_back(std::move(defect));
    }
  }
  return report;
}

TensorReport SampleTensors(const TensorDirectory& tensors, uint64_t max_bytes) {
  constexpr int64_t kRunBytes = 4096;
  TensorReport report;
  const uint64_t total = tensors.TotalBytes();
  const auto every =
      static_cast<int64_t>((total + max_bytes - 1) / std::max<uint64_t>(max_bytes, 1));
  for (const TensorEntry& entry : tensors.entries()) {
    const DTypeTraits& traits = Traits(entry.view.dtype);
    const int64_t count = entry.view.shape.NumElements() / traits.block_weights;  // blocks
    // Everything in one run, or a run of each `every`, of which there is always a first.
    const bool whole = every <= 1 || entry.view.rank() <= 1;
    const int64_t run = whole ? count : std::max<int64_t>(1, kRunBytes / traits.block_bytes);
    TensorDefect defect;
    for (int64_t begin = 0; begin < count; begin += run * std::max<int64_t>(every, 1)) {
      const int64_t n = std::min(run, count - begin);
      const quant::NonFinite found = quant::FindNonFinite(
          entry.view.dtype, entry.view.data + begin * traits.block_bytes, n * traits.block_weights);
      report.num_elements += found.looked_at * traits.block_weights;
      if (found.bad == 0) continue;
      // How many and which are the same question as CheckTensors asks, answered in the same way.
      const int64_t last = (begin + n) * traits.block_weights;
      for (int64_t at = begin * traits.block_weights; at < last; at += kChunk) {
        (void)LookAt(entry.view, at, std::min(kChunk, last - at), report, defect);
      }
    }
    if (defect.num_nan + defect.num_inf == 0) continue;
    defect.name = entry.name;
    report.defects.push_back(std::move(defect));
  }
  report.num_subnormal = 0;  // of what happened to be decoded: says nothing
  return report;
}

}  // namespace rill::io
