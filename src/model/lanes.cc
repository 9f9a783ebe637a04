#include "model/lanes.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/pause.h"

namespace rill::model {
namespace {

// Measured up to here (lanes.h).
constexpr int32_t kMostColumns = 1024;
constexpr int32_t kColumnsForToken = 72;
constexpr int32_t kTimesInF32 = 8;
// With two lanes weights are read at half of what memory can do; more lanes read as much together.
constexpr int32_t kTokensForLane = 4;
// Tiles of tokens are whole in steps of this; what is left of one costs as much as a whole step.
constexpr int32_t kTokenStep = 4;
// A product in f32, attention for the most part, takes as long as so many of integers (SmolLM2 at
// 256 positions, Zen 5, AVX-512-VNNI).
constexpr double kF32Cost = 6;
// A sequence is cut where parts would be uneven by more than this share of the step otherwise.
constexpr double kSplitCost = 0.02;
// A part that takes so much longer than its share is no part: one token of a long context.
constexpr double kMostUneven = 1.25;

bool EndsSequence(const PagedKvView& kv, int32_t token) {
  return std::binary_search(kv.q_offsets, kv.q_offsets + kv.num_seqs + 1, token);
}

int32_t LeftOfTile(int32_t tokens) {
  return (kTokenStep - tokens % kTokenStep) % kTokenStep;
}

}  // namespace

void LaneGate::Wait() const {
  const int32_t layers = appended_.load(std::memory_order_relaxed);
  const auto is_behind = [layers](const LaneGate& peer) {
    return peer.appended_.load(std::memory_order_acquire) < layers;
  };
  for (const LaneGate& peer : peers_) {
    for (int spins = 0; is_behind(peer);) Pause(spins++);
  }
}

int32_t Lanes::MinTokens(const ops::LaneLimits& limits, int32_t columns, int32_t max_tokens,
                         bool in_f32) {
  if (limits.count < 2 || limits.min_tokens <= 0 || columns > kMostColumns) return 0;
  const int32_t tokens = std::max(limits.min_tokens, columns / kColumnsForToken);
  const int32_t least =
      std::max((in_f32 ? kTimesInF32 : 1) * tokens, kTokensForLane * limits.count);
  return max_tokens / limits.count < least ? 0 : least;
}

int32_t Lanes::Room(int32_t num_lanes, int32_t max_tokens) {
  return std::min(max_tokens, (max_tokens + num_lanes - 1) / num_lanes + 2 * kTokenStep);
}

Result<std::unique_ptr<Lanes>> Lanes::Create(Program& whole, ops::Backend& backend,
                                             const KvLayout& layout, int32_t columns, bool in_f32,
                                             Record record) {
  const int32_t count = backend.lanes().count;
  const StepCostModel cost_model(whole, layout);
  const StepCost cost = cost_model.Of(1, 1, 0, nullptr, nullptr);
  const int32_t min_tokens = MinTokens(backend.lanes(), columns, whole.max_tokens(),
                                       in_f32 || cost.f32_macs > cost.int8_macs);
  if (min_tokens == 0) return std::unique_ptr<Lanes>();
  auto lanes = std::unique_ptr<Lanes>(new Lanes());
  lanes->backend_ = &backend;
  lanes->min_tokens_ = min_tokens;
  lanes->cost_ = cost_model;
  lanes->lanes_ = std::vector<Lane>(static_cast<size_t>(count));
  lanes->gates_ = std::vector<LaneGate>(static_cast<size_t>(count));
  lanes->cost_until_.reserve(static_cast<size_t>(whole.max_tokens()) + 1);
  for (int32_t i = 0; i < count; ++i) {
    Lane& lane = lanes->lanes_[static_cast<size_t>(i)];
    lane.program = &whole;
    lane.max_tokens = whole.max_tokens();
    if (i > 0) {
      lane.max_tokens = Room(count, whole.max_tokens());
      RILL_ASSIGN_OR_RETURN(lane.own,
                            record(lane.max_tokens, std::min(lane.max_tokens, whole.max_rows())));
      lane.program = lane.own.get();
    }
    // A step allocates nothing.
    lane.q_offsets.reserve(static_cast<size_t>(lane.max_tokens) + 1);
    lane.kv_lens.reserve(static_cast<size_t>(lane.max_tokens));
    lane.logit_rows.reserve(static_cast<size_t>(lane.max_tokens));
  }
  return lanes;
}

int64_t Lanes::arena_bytes() const {
  int64_t bytes = 0;
  for (const Lane& lane : lanes_) bytes += lane.own ? lane.own->arena_bytes() : 0;
  return bytes;
}

void Lanes::SumCosts(const ProgramInput& input) {
  cost_until_.assign(1, 0.0);
  auto row = input.logit_rows.begin();
  for (size_t t = 0; t < input.token_ids.size(); ++t) {
    int64_t num_rows = 0;
    for (; row != input.logit_rows.end() && *row == static_cast<int32_t>(t); ++row) ++num_rows;
    const int32_t q_offsets[] = {0, 1};
    const int32_t kv_len = input.positions[t] + 1;
    const StepCost cost = cost_.Of(1, num_rows, 1, q_offsets, &kv_len);
    cost_until_.push_back(cost_until_.back() + cost.int8_macs + kF32Cost * cost.f32_macs);
  }
}

// Near an equal share of the cost, where a sequence ends if one does there, and with whole tiles.
int32_t Lanes::EndOf(size_t lane, int32_t begin, const ProgramInput& input) const {
  const auto num_tokens = static_cast<int32_t>(input.token_ids.size());
  const auto behind = static_cast<int32_t>(lanes_.size() - 1 - lane);
  const double total = cost_until_.back();
  const double goal = total * static_cast<double>(lane + 1) / static_cast<double>(lanes_.size());
  const auto near = static_cast<int32_t>(
      std::lower_bound(cost_until_.begin(), cost_until_.end(), goal) - cost_until_.begin());
  double least = std::numeric_limits<double>::infinity();
  int32_t best = 0;
  for (int32_t end = near - 2 * kTokenStep; end <= near + 2 * kTokenStep; ++end) {
    if (end <= begin || end >= num_tokens || end - begin > lanes_[lane].max_tokens) continue;
    if (num_tokens - end > behind * lanes_.back().max_tokens) continue;
    const int32_t left = std::max(LeftOfTile(end - begin), LeftOfTile(num_tokens - end));
    double cost =
        std::abs(cost_until_[static_cast<size_t>(end)] - goal) + total / num_tokens * left;
    if (!EndsSequence(input.kv, end)) cost += kSplitCost * total;
    if (cost >= least) continue;
    least = cost;
    best = end;
  }
  return best;
}

bool Lanes::Cut(const ProgramInput& input) {
  const auto num_tokens = static_cast<int32_t>(input.token_ids.size());
  const auto num_lanes = static_cast<int32_t>(lanes_.size());
  if (num_tokens < num_lanes * min_tokens_) return false;
  // A lane's rows of logits lie one after the other, and there are no more than its tokens.
  if (std::adjacent_find(input.logit_rows.begin(), input.logit_rows.end(), std::greater_equal()) !=
      input.logit_rows.end()) {
    return false;
  }
  // Its sequences are rows of the page table one after the other.
  const int32_t* const offsets = input.kv.q_offsets;
  if (std::adjacent_find(offsets, offsets + input.kv.num_seqs + 1) !=
      offsets + input.kv.num_seqs + 1) {
    return false;
  }
  SumCosts(input);
  const double most = kMostUneven * cost_until_.back() / num_lanes;
  int32_t begin = 0;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    lane.end = i + 1 < lanes_.size() ? EndOf(i, begin, input) : num_tokens;
    if (lane.end <= begin || lane.end - begin > lane.max_tokens) return false;
    const double cost =
        cost_until_[static_cast<size_t>(lane.end)] - cost_until_[static_cast<size_t>(begin)];
    if (cost > most) return false;
    begin = lane.end;
  }
  return true;
}

// The part of `input` that begins at token `begin`.
void Lanes::Fill(const ProgramInput& input, int32_t begin, Lane& lane) {
  const auto first = static_cast<size_t>(begin);
  const auto count = static_cast<size_t>(lane.end - begin);
  ProgramInput& in = lane.input;
  in.token_ids = input.token_ids.subspan(first, count);
  in.positions = input.positions.subspan(first, count);
  in.token_types = {};

  const auto row0 = std::lower_bound(input.logit_rows.begin(), input.logit_rows.end(), begin);
  const auto row1 = std::lower_bound(row0, input.logit_rows.end(), lane.end);
  lane.logit_rows.clear();
  for (auto row = row0; row != row1; ++row) lane.logit_rows.push_back(*row - begin);
  in.logit_rows = lane.logit_rows;
  const auto first_row = static_cast<size_t>(row0 - input.logit_rows.begin());
  const auto num_rows = static_cast<size_t>(row1 - row0);
  in.logits = input.logits;
  in.logits.data =
      reinterpret_cast<std::byte*>(input.logits.Row<float>(static_cast<int64_t>(first_row)));
  in.logits.shape.dims[0] = static_cast<int64_t>(num_rows);
  in.wanted = input.wanted.empty() ? input.wanted : input.wanted.subspan(first_row, num_rows);
  in.best = input.best.empty() ? input.best : input.best.subspan(first_row, num_rows);

  const PagedKvView& kv = input.kv;
  lane.q_offsets.assign(1, 0);
  lane.kv_lens.clear();
  int32_t first_seq = kv.num_seqs;
  for (int32_t s = 0; s < kv.num_seqs; ++s) {
    const int32_t q_begin = std::max(kv.q_offsets[s], begin);
    const int32_t q_end = std::min(kv.q_offsets[s + 1], lane.end);
    if (q_begin >= q_end) continue;
    first_seq = std::min(first_seq, s);
    lane.q_offsets.push_back(q_end - begin);
    lane.kv_lens.push_back(kv.kv_lens[s] - (kv.q_offsets[s + 1] - q_end));
  }
  in.kv = kv;
  in.kv.num_seqs = static_cast<int32_t>(lane.kv_lens.size());
  in.kv.page_table = kv.page_table + int64_t{first_seq} * kv.max_pages;
  in.kv.q_offsets = lane.q_offsets.data();
  in.kv.kv_lens = lane.kv_lens.data();
}

// Neighbours that share a sequence, and their neighbours that do, wait for each other.
void Lanes::ShareGates(const ProgramInput& input) {
  const std::span<const LaneGate> gates(gates_);
  size_t first = 0;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (!EndsSequence(input.kv, lanes_[i].end)) continue;
    for (size_t j = first; j <= i; ++j) {
      gates_[j].Reset(gates.subspan(first, i + 1 - first));
      lanes_[j].input.gate = i > first ? &gates_[j] : nullptr;
    }
    first = i + 1;
  }
}

bool Lanes::Run(const ProgramInput& input, Status& status) {
  if (!Cut(input)) return false;
  int32_t begin = 0;
  for (Lane& lane : lanes_) {
    Fill(input, begin, lane);
    begin = lane.end;
  }
  ShareGates(input);
  backend_->ForEach(static_cast<int64_t>(lanes_.size()), [this](int64_t index, int) {
    backend_->RunLane(static_cast<int>(index), [this, index](ops::Stream& stream) {
      Lane& lane = lanes_[static_cast<size_t>(index)];
      lane.input.stream = &stream;
      lane.status = lane.program->Run(lane.input);
    });
  });
  status = OkStatus();
  for (Lane& lane : lanes_) {
    if (status.ok()) status = std::move(lane.status);
  }
  return true;
}

}  // namespace rill::model
