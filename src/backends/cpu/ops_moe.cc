// moe_route and moe_ffn.
#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/context.h"
#include "base/check.h"

namespace rill::cpu {

void MoeRouteOp(const ops::MoeRouteArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t experts = args.logits.dim(1), top_k = args.expert_ids.dim(1);
  float* score = c.rows.Array<float>(2 * experts);
  float* choice = score + experts;
  const float infinity = __builtin_inff();
  for (int64_t t = 0; t < args.logits.dim(0); ++t) {
    const float* logits = args.logits.Row<float>(t);
    if (args.softmax_after_topk) {
      std::copy(logits, logits + experts, score);
    } else if (args.sigmoid) {
      c.k.scale(logits, -1.0f, score, experts);
      c.k.exp(score, score, experts);
      for (int64_t e = 0; e < experts; ++e) score[e] = 1.0f / (1.0f + score[e]);
    } else {
      c.k.softmax(logits, score, experts);
    }
    for (int64_t e = 0; e < experts; ++e) {
      choice[e] = score[e];
      if (!args.correction_bias.empty()) choice[e] += args.correction_bias.As<float>()[e];
    }
    if (args.num_groups > 1) {
      // Groups that do not stay lose their experts: -Inf is never chosen while others are left.
      const int64_t size = experts / args.num_groups;
      std::vector<float> worth(static_cast<size_t>(args.num_groups));
      for (int64_t g = 0; g < args.num_groups; ++g) {
        float best = -infinity, second = -infinity;
        for (int64_t e = g * size; e < (g + 1) * size; ++e) {
          if (choice[e] > best) {
            second = best;
            best = choice[e];
          } else if (choice[e] > second) {
            second = choice[e];
          }
        }
        worth[static_cast<size_t>(g)] = args.group_score_top2 && size > 1 ? best + second : best;
      }
      for (int64_t g = 0; g < args.num_groups; ++g) {
        int64_t better = 0;
        for (int64_t o = 0; o < args.num_groups; ++o) {
          const float a = worth[static_cast<size_t>(o)], b = worth[static_cast<size_t>(g)];
          better += a > b || (a == b && o < g);
        }
        if (better >= args.top_groups) {
          std::fill(choice + g * size, choice + (g + 1) * size, -infinity);
        }
      }
    }
    int32_t* ids = args.expert_ids.Row<int32_t>(t);
    float* weights = args.expert_weights.Row<float>(t);
    for (int64_t j = 0; j < top_k; ++j) {
      int64_t best = -1;
      for (int64_t e = 0; e < experts; ++e) {
        if (std::find(ids, ids + j, static_cast<int32_t>(e)) != ids + j) continue;
        if (best < 0 || choice[e] > choice[best]) best = e;
      }
      ids[j] = static_cast<int32_t>(best);
      weights[j] = score[best];
    }
    if (args.softmax_after_topk) c.k.softmax(weights, weights, top_k);
    if (args.normalize) {
      float sum = 0.0f;
      for (int64_t j = 0; j < top_k; ++j) sum += weights[j];
      sum += 1e-20f;
      for (int64_t j = 0; j < top_k; ++j) weights[j] /= sum;
    }
    if (args.scale != 1.0f) {
      for (int64_t j = 0; j < top_k; ++j) weights[j] *= args.scale;
    }
  }
}

// Tokens go in chunks, so that the experts' outputs before they are summed stay bounded; within a
// chunk each expert runs once over the tokens that chose it.
void MoeFfnOp(const ops::MoeFfnArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const CpuWeight& gate_up = AsCpu(args.gate_up);
  const CpuWeight& down = AsCpu(args.down);
  const int64_t hidden = args.x.dim(1), top_k = args.expert_ids.dim(1);
  const int64_t experts = down.num_experts(), inner = down.cols();
  constexpr int64_t kChunk = 256;
  const int64_t chunk = std::min<int64_t>(kChunk, args.x.dim(0));
  if (chunk == 0) return;
  // Slot (t, j), ordered by expert: which rows each expert reads, where its output goes.
  const int64_t slots = chunk * top_k;
  float* outputs = c.rows.Array<float>(slots * (hidden + (args.ungated ? inner : 0)));
  float* inners = outputs + slots * hidden;  // ungated
  std::vector<int64_t> first(static_cast<size_t>(experts + 1));
  std::vector<int64_t> place(static_cast<size_t>(slots));
  std::vector<const float*> x_rows(static_cast<size_t>(slots)),
      inner_rows(static_cast<size_t>(slots));
  for (int64_t t0 = 0; t0 < args.x.dim(0); t0 += chunk) {
    const int64_t n = std::min(chunk, args.x.dim(0) - t0);
    std::fill(first.begin(), first.end(), 0);
    const auto id = [&](int64_t slot) {
      return args.expert_ids.Row<int32_t>(t0 + slot / top_k)[slot % top_k];
    };
    for (int64_t i = 0; i < n * top_k; ++i) {
      CHECK(id(i) >= 0 && id(i) < experts) << "moe_ffn: expert " << id(i) << " of " << experts;
      ++first[static_cast<size_t>(id(i)) + 1];
    }
    for (int64_t e = 0; e < experts; ++e) {
      first[static_cast<size_t>(e) + 1] += first[static_cast<size_t>(e)];
    }
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (int64_t i = 0; i < n * top_k; ++i) {
      const int64_t p = next[static_cast<size_t>(id(i))]++;
      place[static_cast<size_t>(i)] = p;
      x_rows[static_cast<size_t>(p)] = args.x.Row<float>(t0 + i / top_k);
      inner_rows[static_cast<size_t>(p)] = inners + p * inner;
    }
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t p0 = first[static_cast<size_t>(e)];
      const int64_t count = first[static_cast<size_t>(e) + 1] - p0;
      if (count == 0) continue;
      const float* const* rows = x_rows.data() + p0;
      if (!args.ungated) {
        GatedFfn(c, gate_up, down, e, rows, count, {}, nullptr, args.kind, {},
                 outputs + p0 * hidden, hidden);
        continue;
      }
      MatMul(c, gate_up, e, rows, count, {}, inners + p0 * inner, inner);
      for (int64_t p = p0; p < p0 + count; ++p) {
        c.k.activation(args.kind, inners + p * inner, inners + p * inner, inner);
      }
      MatMul(c, down, e, inner_rows.data() + p0, count, {}, outputs + p0 * hidden, hidden);
    }
    ForRows(c, n, hidden * top_k, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        // The sum grows in the slot of j = 0, starting from 0, as one fma each.
        float* sum = outputs + place[static_cast<size_t>(t * top_k)] * hidden;
        const float* weights = args.expert_weights.Row<float>(t0 + t);
        c.k.scale(sum, weights[0], sum, hidden);
        for (int64_t j = 1; j < top_k; ++j) {
          c.k.axpy(weights[j], outputs + place[static_cast<size_t>(t * top_k + j)] * hidden, sum,
                   hidden);
        }
        float* y = args.y.Row<float>(t0 + t);
        if (args.residual.empty()) {
          std::memcpy(y, sum, static_cast<size_t>(hidden) * 4);
        } else {
          c.k.add(args.residual.Row<float>(t0 + t), sum, 1.0f, y, hidden);
        }
      }
    });
  }
}

}  // namespace rill::cpu
