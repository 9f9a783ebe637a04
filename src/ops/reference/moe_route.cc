#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {
namespace {

// f32(softmax) of the entries `ids` of logits, in their order.
std::vector<float> Softmax(const float* logits, const std::vector<int32_t>& ids) {
  double max = -std::numeric_limits<double>::infinity();
  for (int32_t id : ids) max = std::max(max, double{logits[id]});
  double sum = 0;
  for (int32_t id : ids) sum += std::exp(logits[id] - max);
  std::vector<float> out;
  for (int32_t id : ids) out.push_back(static_cast<float>(std::exp(logits[id] - max) / sum));
  return out;
}

// The `count` candidates of largest worth, descending, ties to the lower id.
std::vector<int32_t> Best(const std::vector<float>& worth, std::vector<int32_t> candidates,
                          int64_t count) {
  std::stable_sort(candidates.begin(), candidates.end(), [&](int32_t a, int32_t b) {
    return worth[static_cast<size_t>(a)] > worth[static_cast<size_t>(b)];
  });
  candidates.resize(static_cast<size_t>(count));
  return candidates;
}

std::vector<int32_t> Range(int64_t begin, int64_t end) {
  std::vector<int32_t> out(static_cast<size_t>(end - begin));
  std::iota(out.begin(), out.end(), static_cast<int32_t>(begin));
  return out;
}

}  // namespace

void ReferenceMoeRoute(const MoeRouteArgs& args, Stream&) {
  const int64_t num_experts = args.logits.dim(1);
  const int64_t top_k = args.expert_ids.dim(1);
  const int64_t group_size = num_experts / args.num_groups;
  for (int64_t t = 0; t < args.logits.dim(0); ++t) {
    const float* logits = args.logits.Row<float>(t);
    std::vector<float> score(logits, logits + num_experts);
    if (!args.softmax_after_topk) {
      if (!args.sigmoid) score = Softmax(logits, Range(0, num_experts));
      for (float& s : score) {
        if (args.sigmoid) s = static_cast<float>(1 / (1 + std::exp(-double{s})));
      }
    }
    std::vector<float> choice = score;
    for (size_t e = 0; e < choice.size() && !args.correction_bias.empty(); ++e) {
      choice[e] += args.correction_bias.As<float>()[e];
    }
    std::vector<int32_t> candidates = Range(0, num_experts);
    if (args.num_groups > 1) {
      std::vector<float> worth;
      for (int32_t g = 0; g < args.num_groups; ++g) {
        const auto members = Best(choice, Range(g * group_size, (g + 1) * group_size),
                                  std::min<int64_t>(group_size, 2));
        worth.push_back(choice[static_cast<size_t>(members[0])]);
        if (args.group_score_top2 && members.size() > 1) {
          worth.back() += choice[static_cast<size_t>(members[1])];
        }
      }
      std::vector<int32_t> groups = Best(worth, Range(0, args.num_groups), args.top_groups);
      std::sort(groups.begin(), groups.end());
      candidates.clear();
      for (int32_t g : groups) {
        for (int32_t e : Range(g * group_size, (g + 1) * group_size)) candidates.push_back(e);
      }
    }
    const std::vector<int32_t> chosen = Best(choice, candidates, top_k);
    std::vector<float> weights;
    if (args.softmax_after_topk) {
      weights = Softmax(logits, chosen);
    } else {
      for (int32_t e : chosen) weights.push_back(score[static_cast<size_t>(e)]);
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0) + 1e-20;
    for (size_t j = 0; j < chosen.size(); ++j) {
      args.expert_ids.Row<int32_t>(t)[j] = chosen[j];
      args.expert_weights.Row<float>(t)[j] =
          static_cast<float>((args.normalize ? weights[j] / sum : weights[j]) * args.scale);
    }
  }
}

}  // namespace rill::ops::reference
