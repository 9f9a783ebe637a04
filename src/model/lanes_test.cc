#include "model/lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "model/model.h"
#include "model/test_source.h"

namespace rill::model {
namespace {

// The reference backend with lanes, each item of ForEach on a thread of its own.
class LaneBackend final : public ops::Backend {
 public:
  explicit LaneBackend(int num_lanes) : lanes_(static_cast<size_t>(num_lanes)) {
    for (LaneStream& lane : lanes_) lane.inner = &inner_->stream();
  }
  std::string_view name() const override { return "lanes"; }
  std::string Describe() const override { return "lanes"; }
  const ops::OpTable& ops() const override { return inner_->ops(); }
  ops::Stream& stream() override { return inner_->stream(); }
  Result<std::unique_ptr<ops::Buffer>> Allocate(int64_t bytes) override {
    return inner_->Allocate(bytes);
  }
  Result<std::unique_ptr<ops::PackedWeight>> PackWeight(const ops::WeightSource& s) override {
    return inner_->PackWeight(s);
  }
  void ForEach(int64_t count, ops::HostTask task) override {
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < count; ++i) {
      threads.emplace_back([&task, i] { task(i, static_cast<int>(i)); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  ops::LaneLimits lanes() const override { return {static_cast<int>(lanes_.size()), 1}; }
  void RunLane(int index, ops::LaneTask task) override { task(lanes_[static_cast<size_t>(index)]); }

  int num_runs(size_t lane) const { return lanes_[lane].num_runs; }
  void Fail(size_t lane) { lanes_[lane].fails = true; }

 private:
  struct LaneStream final : ops::Stream {
    Status Synchronize() override {
      ++num_runs;
      return fails ? Unavailable("this lane fails") : inner->Synchronize();
    }
    ops::Stream* inner = nullptr;
    int num_runs = 0;
    bool fails = false;
  };
  std::unique_ptr<ops::Backend> inner_ = ops::MakeReferenceBackend();
  std::vector<LaneStream> lanes_;
};

constexpr int32_t kMaxTokens = 60, kPages = 40, kVocab = 50;

struct Loaded {
  explicit Loaded(ops::Backend& backend) {
    ModelOptions options;
    options.max_step_tokens = kMaxTokens;
    auto loaded = Model::Load(source.Make(), backend, options);
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    model = std::move(loaded).value();
    layout = model->MakeKvLayout(quant::KvFormat::kInt8, 16);
    memory.resize(static_cast<size_t>(layout.page_bytes() * kPages));
  }
  TestSource source;
  std::unique_ptr<Model> model;
  KvLayout layout;
  std::vector<std::byte> memory;
};

using Ints = std::vector<int32_t>;

Status Forward(Loaded& m, const Ints& ids, const Ints& positions, const Ints& rows,
               const Ints& q_offsets, const Ints& kv_lens, const Ints& page_table,
               std::vector<float>& logits) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  logits.assign(rows.size() * kVocab, 0);
  // Of every third row the largest logit is enough; it is put into its row.
  Ints wanted;
  for (const int32_t row : rows) wanted.push_back(row % 3 == 0 ? 0 : 1);
  std::vector<ops::BestLogit> best(rows.size());
  StepInput input;
  input.token_ids = ids;
  input.positions = positions;
  input.logit_rows = rows;
  input.kv = {m.layout, m.memory.data(),   kPages,           static_cast<int32_t>(kv_lens.size()),
              4,        page_table.data(), q_offsets.data(), kv_lens.data()};
  input.wanted = wanted;
  input.best = best;
  const Status status = m.model->Forward(
      input, MutableTensorView(logits.data(), DType::kF32, Shape{num_rows, kVocab}));
  for (size_t r = 0; status.ok() && r < rows.size(); ++r) {
    EXPECT_EQ(best[r].token_id >= 0, wanted[r] == 0);
    if (best[r].token_id < 0) continue;
    logits[r * kVocab + static_cast<size_t>(best[r].token_id)] = best[r].logit;
  }
  return status;
}

// Sequences that grow, in a step's form.
struct Batch {
  explicit Batch(int32_t num_seqs) : lens(static_cast<size_t>(num_seqs)) {
    for (int32_t s = 0; s < num_seqs; ++s) {
      for (int32_t p = 0; p < 4; ++p) pages.push_back(s * 4 + p);
    }
  }
  // `counts[s]` more tokens of each sequence. Rows of logits: all whose number is a multiple of
  // `every`.
  Status Run(Loaded& m, const std::vector<int32_t>& counts, int32_t every, std::mt19937& random,
             std::vector<float>& logits) {
    std::vector<int32_t> ids, positions, rows, q_offsets = {0}, kv_lens, table;
    for (size_t s = 0; s < counts.size(); ++s) {
      if (counts[s] == 0) continue;
      for (int32_t i = 0; i < counts[s]; ++i) {
        ids.push_back(static_cast<int32_t>(random() % kVocab));
        positions.push_back(lens[s]++);
      }
      q_offsets.push_back(static_cast<int32_t>(ids.size()));
      kv_lens.push_back(lens[s]);
      table.insert(table.end(), pages.begin() + static_cast<int64_t>(s) * 4,
                   pages.begin() + static_cast<int64_t>(s) * 4 + 4);
    }
    for (int32_t t = 0; t < static_cast<int32_t>(ids.size()); t += every) rows.push_back(t);
    return Forward(m, ids, positions, rows, q_offsets, kv_lens, table, logits);
  }
  std::vector<int32_t> lens, pages;
};

// Steps of decodes, of prompts that lanes share and of both, beside a backend without lanes: the
// same logits and the same keys and values, bit for bit.
TEST(Lanes, GiveTheSameBits) {
  for (const int num_lanes : {2, 3}) {
    LaneBackend cut(num_lanes);
    const auto plain = ops::MakeReferenceBackend();
    Loaded a(cut), b(*plain);
    std::mt19937 sizes(static_cast<uint32_t>(num_lanes));
    for (int round = 0; round < 12; ++round) {
      Batch batch_a(10), batch_b(10);
      for (int step = 0; step < 6; ++step) {
        std::vector<int32_t> counts(10);
        int32_t left = kMaxTokens;
        for (size_t s = 0; s < counts.size(); ++s) {
          const int32_t most = std::min(left, 64 - batch_a.lens[s]);
          const bool is_prompt = sizes() % 4 == 0;
          counts[s] = std::min<int32_t>(most, is_prompt ? static_cast<int32_t>(sizes() % 50) : 1);
          left -= counts[s];
        }
        if (left == kMaxTokens) continue;
        const int32_t every = 1 + static_cast<int32_t>(sizes() % 5);
        const auto seed = static_cast<uint32_t>(sizes());
        std::mt19937 random_a(seed), random_b(seed);
        std::vector<float> logits_a, logits_b;
        ASSERT_TRUE(batch_a.Run(a, counts, every, random_a, logits_a).ok());
        ASSERT_TRUE(batch_b.Run(b, counts, every, random_b, logits_b).ok());
        ASSERT_EQ(std::memcmp(logits_a.data(), logits_b.data(), logits_a.size() * 4), 0);
        ASSERT_EQ(a.memory, b.memory);
      }
    }
    for (int lane = 0; lane < num_lanes; ++lane)
      EXPECT_GT(cut.num_runs(static_cast<size_t>(lane)), 9);
  }
}

// One prompt over all lanes: each needs the keys and values of the one before.
TEST(Lanes, OneSequence_IsShared) {
  LaneBackend cut(3);
  const auto plain = ops::MakeReferenceBackend();
  Loaded a(cut), b(*plain);
  for (int round = 0; round < 3; ++round) {
    Batch batch_a(1), batch_b(1);
    std::vector<float> logits_a, logits_b;
    std::mt19937 random_a(1), random_b(1);
    const int before = cut.num_runs(2);
    ASSERT_TRUE(batch_a.Run(a, {60}, 1, random_a, logits_a).ok());
    ASSERT_TRUE(batch_b.Run(b, {60}, 1, random_b, logits_b).ok());
    EXPECT_EQ(cut.num_runs(2), before + 1);
    EXPECT_EQ(logits_a, logits_b);
    EXPECT_EQ(a.memory, b.memory);
  }
}

// What the scheduler never makes, but may be asked for: rows twice, and sequences without tokens.
TEST(Lanes, OddSteps_AreNotCut) {
  LaneBackend cut(2);
  const auto plain = ops::MakeReferenceBackend();
  std::vector<float> results[2];
  ops::Backend* backends[] = {&cut, plain.get()};
  for (int i = 0; i < 2; ++i) {
    Loaded m(*backends[i]);
    for (const bool has_empty : {false, true}) {
      std::vector<int32_t> ids(40), positions(40), rows(40);
      for (int32_t t = 0; t < 40; ++t) {
        const auto at = static_cast<size_t>(t);
        ids[at] = t;
        positions[at] = t % 20;
        rows[at] = has_empty ? t : 30;
      }
      const Ints q_offsets = has_empty ? Ints{0, 20, 20, 40} : Ints{0, 20, 40};
      const Ints kv_lens = has_empty ? Ints{20, 0, 20} : Ints{20, 20};
      Ints table(12);
      std::iota(table.begin(), table.end(), 0);
      std::vector<float> logits;
      ASSERT_TRUE(Forward(m, ids, positions, rows, q_offsets, kv_lens, table, logits).ok());
      results[i].insert(results[i].end(), logits.begin(), logits.end());
    }
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(cut.num_runs(0), 0);
}

TEST(Lanes, SmallSteps_AreNotCut) {
  LaneBackend cut(2);
  Loaded m(cut);
  std::mt19937 random(1);
  std::vector<float> logits;
  Batch batch(1);
  ASSERT_TRUE(batch.Run(m, {15}, 1, random, logits).ok());  // 8 for each lane are enough
  EXPECT_EQ(cut.num_runs(0), 0);
  ASSERT_TRUE(batch.Run(m, {16}, 1, random, logits).ok());
  EXPECT_EQ(cut.num_runs(0), 1);
}

TEST(Lanes, TheStatusOfEachCounts) {
  for (const size_t failing : {size_t{0}, size_t{2}}) {
    LaneBackend cut(3);
    Loaded m(cut);
    cut.Fail(failing);
    std::mt19937 random(1);
    std::vector<float> logits;
    Batch batch(1);
    EXPECT_EQ(batch.Run(m, {50}, 1, random, logits).message(), "this lane fails");
  }
}

TEST(Lanes, MinTokens_GrowWithLanesAndColumns) {
  EXPECT_EQ(Lanes::MinTokens({1, 8}, 576, 512, false), 0);
  EXPECT_EQ(Lanes::MinTokens({2, 0}, 576, 512, false), 0);
  EXPECT_EQ(Lanes::MinTokens({2, 8}, 576, 512, false), 8);
  EXPECT_EQ(Lanes::MinTokens({8, 8}, 576, 512, false), 32);
  EXPECT_EQ(Lanes::MinTokens({16, 8}, 576, 512, false), 0);  // 64 each
  EXPECT_EQ(Lanes::MinTokens({2, 8}, 896, 512, false), 12);
  EXPECT_EQ(Lanes::MinTokens({2, 8}, 2048, 512, false), 0);
  EXPECT_EQ(Lanes::MinTokens({2, 8}, 576, 512, true), 64);
  EXPECT_EQ(Lanes::MinTokens({16, 8}, 576, 512, true), 0);
}

TEST(Lanes, Plan_AgreesWithLoad) {
  LaneBackend cut(2);
  Loaded m(cut);
  ModelOptions options;
  options.max_step_tokens = kMaxTokens;
  options.lanes = cut.lanes();
  const auto plan = PlanModel(m.source.Make(), options);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(plan->activation_bytes, m.model->memory().activation_bytes);
  options.lanes = {};
  EXPECT_LT(PlanModel(m.source.Make(), options)->activation_bytes, plan->activation_bytes);
}

}  // namespace
}  // namespace rill::model
