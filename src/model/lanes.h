// Lanes: a large step cut into parts, one for each thread, that run through the whole network side
// by side.
//
// Within an op all threads work on the same tokens: each computes some output rows and needs what
// the others computed in the op before, so they wait for each other at every op, and rows travel
// from core to core. With enough tokens it is cheaper that each thread takes some of them through
// all layers alone, at the price of reading and unpacking the weights once for each thread. A
// token's result does not depend on what is computed beside it, so no bit changes.
//
// Tokens of different sequences need nothing of each other. Those of one that is cut do: before a
// layer's attention its lanes wait until each has appended its keys and values of that layer.
//
// Measured (Zen 5, AVX-512-VNNI, two threads, Q4, decode at 256 positions, `rill bench MODEL -t 2
// --activations q8 -r 2 --mixed none --at 256 -b …` before and after in turns; with lanes, ratio):
// SmolLM2, 576 columns: 16 sequences 1.18, 24 1.2, 32 to 64 1.12 where the cores share no cache,
// 1.0 to 1.06 where they do; 12 sequences 0.9. Llama 1.1B, 2,048 columns: 32 to 64 sequences 1.01,
// 20 and fewer 0.9, prompts 0.98. What travels grows with the columns, what is read with their
// square. With f32 activations, whose weights are taken apart to 4 bytes each, SmolLM2: a prompt of
// 128 1.05, 64 sequences 0.98, 32 0.88.
//
// Lanes do not end at the same time: tiles of tokens are whole, and a thread may lose its CPU to
// other work. One that has ended takes pieces of the ops of those that have not (RunLane).
//
// Owner thread: the compute thread calls Run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "model/program.h"
#include "model/step_cost.h"
#include "ops/backend.h"
#include "rill/status.h"

namespace rill::model {

// How many layers a lane has appended keys and values of. Lanes that share a sequence wait for one
// another.
class LaneGate {
 public:
  // On the owner thread, before the step. `peers` are all lanes that share it, this one too.
  void Reset(std::span<const LaneGate> peers) {
    appended_.store(0, std::memory_order_relaxed);
    peers_ = peers;
  }
  void Appended() {
    appended_.store(appended_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  // Until each peer has appended as many layers as this lane has.
  void Wait() const;

 private:
  alignas(64) std::atomic<int32_t> appended_{0};
  std::span<const LaneGate> peers_;
};

class Lanes {
 public:
  // Tokens from which on a lane is worth while, of steps of at most max_tokens of a network whose
  // rows have `columns` elements, multiplied as integers or as f32; 0: never.
  static int32_t MinTokens(const ops::LaneLimits& limits, int32_t columns, int32_t max_tokens,
                           bool in_f32);
  // Tokens that a lane has room for. The first has that of a whole step, whose program it uses.
  static int32_t Room(int32_t num_lanes, int32_t max_tokens);

  // `record` makes the program again, for at most so many tokens and rows. Null when no step of
  // whole.max_tokens() is worth cutting.
  using Record =
      FunctionRef<Result<std::unique_ptr<Program>>(int32_t max_tokens, int32_t max_rows)>;
  static Result<std::unique_ptr<Lanes>> Create(Program& whole, ops::Backend& backend,
                                               const KvLayout& layout, int32_t columns, bool in_f32,
                                               Record record);

  // Whether the step was cut and run; `status` is its result then.
  bool Run(const ProgramInput& input, Status& status);
  int64_t arena_bytes() const;

 private:
  struct Lane {
    Program* program = nullptr;
    std::unique_ptr<Program> own;  // of all lanes but the first
    int32_t max_tokens = 0;
    int32_t end = 0;  // of its tokens in the step; they begin where the lane before ends
    ProgramInput input;
    std::vector<int32_t> q_offsets, kv_lens, logit_rows;
    Status status;
  };
  Lanes() = default;
  bool Cut(const ProgramInput& input);
  void SumCosts(const ProgramInput& input);
  int32_t EndOf(size_t lane, int32_t begin, const ProgramInput& input) const;
  void Fill(const ProgramInput& input, int32_t begin, Lane& lane);
  void ShareGates(const ProgramInput& input);

  ops::Backend* backend_ = nullptr;
  int32_t min_tokens_ = 0;
  StepCostModel cost_;
  std::vector<Lane> lanes_;
  std::vector<LaneGate> gates_;
  std::vector<double> cost_until_;  // of each token, and of the step
};

}  // namespace rill::model
