#include <algorithm>
#include <limits>
#include <vector>

#include "ops/reference/kernels.h"
#include "ops/reference/kv_page.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {
namespace {

// y = attention of one query row and head, at `position` of sequence `seq`.
void AttendRow(const PagedAttentionArgs& args, int32_t seq, int64_t t, int32_t position,
               int32_t h) {
  const PagedKvView& kv = *args.kv;
  const KvLayout& layout = kv.layout;
  const int32_t kv_head = h / (static_cast<int32_t>(args.q.dim(1)) / layout.num_kv_heads);
  const int32_t end = args.causal ? position + 1 : kv.kv_lens[seq];
  const int32_t begin = args.window > 0 ? std::max(0, position - args.window + 1) : 0;
  const float* q = RowOf(args.q, t, h);
  float* y = RowOf(args.y, t, h);

  std::vector<double> scores;
  double max = args.sinks.empty() ? -std::numeric_limits<double>::infinity()
                                  : double{args.sinks.As<float>()[h]};
  bool poisoned = false;
  for (int32_t p = begin; p < end; ++p) {
    const KvPlace place = FindPlace(kv, seq, p, args.layer, kv_head);
    const std::vector<float> key = ReadKey(layout, place);
    double dot = 0;
    for (size_t d = 0; d < key.size(); ++d) dot += double{q[d]} * key[d];
    double score = args.score_scale * dot;
    if (args.softcap > 0) score = args.softcap * std::tanh(score / args.softcap);
    if (!args.alibi_slopes.empty()) {
      score += double{args.alibi_slopes.As<float>()[h]} * (p - position);
    }
    poisoned = poisoned || !std::isfinite(score);
    max = std::max(max, score);
    scores.push_back(score);
  }
  std::vector<double> sum(static_cast<size_t>(layout.v_dim), 0.0);
  double denominator = args.sinks.empty() ? 0 : std::exp(args.sinks.As<float>()[h] - max);
  for (size_t i = 0; i < scores.size(); ++i) {
    const KvPlace place = FindPlace(kv, seq, begin + static_cast<int32_t>(i), args.layer, kv_head);
    const double weight = std::exp(scores[i] - max);
    denominator += weight;
    const std::vector<float> value = ReadValue(layout, place);
    for (size_t d = 0; d < value.size(); ++d) sum[d] += weight * value[d];
  }
  for (int32_t d = 0; d < layout.v_dim; ++d) {
    if (poisoned) {
      y[d] = std::numeric_limits<float>::quiet_NaN();
    } else {
      y[d] = scores.empty() ? 0.0f : static_cast<float>(sum[static_cast<size_t>(d)] / denominator);
    }
  }
}

}  // namespace

void ReferencePagedAttention(const PagedAttentionArgs& args, Stream&) {
  const PagedKvView& kv = *args.kv;
  for (int32_t s = 0; s < kv.num_seqs; ++s) {
    const int32_t q_len = kv.q_offsets[s + 1] - kv.q_offsets[s];
    for (int32_t i = 0; i < q_len; ++i) {
      for (int32_t h = 0; h < args.q.dim(1); ++h) {
        AttendRow(args, s, kv.q_offsets[s] + i, kv.kv_lens[s] - q_len + i, h);
      }
    }
  }
}

}  // namespace rill::ops::reference
