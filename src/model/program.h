// Program: a network's forward as a flat list of op calls, recorded once at load (builder.h) and
// replayed each step with that step's sizes.
//
// Every activation buffer has its place in one arena, planned for the largest step from the
// buffers' lifetimes; addresses never change. A step patches the number of rows into the argument
// structs, copies its ids and positions into the input buffers, and calls the ops in order: no
// allocation, no lookup, no branch on the model. Nothing rewrites the list.
//
// Owner thread: the compute thread calls Run. The node list may be read from anywhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/backend.h"
#include "quant/paged_kv_view.h"
#include "rill/status.h"

namespace rill::model {

// What dimension 0 of a buffer counts.
enum class RowsOf : uint8_t { kTokens, kLogitRows };

// One op call.
struct ProgramNode {
  std::string place;  // "layers.3.attn.qkv"
  ops::OpId op{};
  std::unique_ptr<std::byte[]> args;  // the op's argument struct

  const ops::OpSchema& schema() const { return ops::SchemaOf(op); }
  // "linear(x [512, 576] f32, w model.layers.0.attn.qkv [960, 576] panel16 q4_1 x q8) -> y …" with
  // the sizes of the latest step, or of the largest when none has run.
  std::string Describe() const;
};

// Called around each node while set; for profiles and traces, not for serving.
struct ProgramHook {
  std::function<void(const ProgramNode&)> before;
  std::function<void(const ProgramNode&)> after;
};

class LaneGate;

// What a step brings. Spans are [num_tokens] except those of rows of logits, [num_rows].
struct ProgramInput {
  std::span<const int32_t> token_ids;
  std::span<const int32_t> positions;
  std::span<const int32_t> token_types;  // empty: all 0
  std::span<const int32_t> logit_rows;
  std::span<const int32_t> wanted;  // 0: of this row `best` is enough; empty: no such row
  std::span<ops::BestLogit> best;   // written when not empty; empty only if `wanted` is
  PagedKvView kv;
  MutableTensorView logits;       // [num_rows, vocab_size] f32, rows may be strided
  ops::Stream* stream = nullptr;  // null: the backend's; else one of its lanes (lanes.h)
  LaneGate* gate = nullptr;       // of a lane that shares a sequence with others
};

class Program {
 public:
  std::span<const ProgramNode> nodes() const { return nodes_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  // Sum of all buffers without sharing, to see what planning saves.
  int64_t unshared_bytes() const { return unshared_bytes_; }
  int32_t max_tokens() const { return max_tokens_; }
  int32_t max_rows() const { return max_rows_; }

  // Whether a profile or trace looks at each node.
  bool has_hook() const { return has_hook_; }

  // Sizes were checked by the caller (Model::Forward). Device failures surface here.
  Status Run(const ProgramInput& input);

  // Empty functions are skipped; a default ProgramHook removes the hook. The stream is synchronised
  // before each call of `after`.
  void SetHook(ProgramHook hook);

  // The tensor that the node at `place` wrote in the latest step (its first output), f32,
  // row-major. Only meaningful inside `after`: later nodes reuse the memory.
  static Result<std::vector<float>> ReadOutput(const ProgramNode& node);

 private:
  friend class Builder;
  Status RunNodes(const ProgramInput& input);
  struct RowPatch {
    int64_t* dim;  // dimension 0 of a view inside an argument struct
    RowsOf rows;
  };

  std::vector<ProgramNode> nodes_;
  std::vector<RowPatch> patches_;
  std::vector<MutableTensorView*> logits_;  // views of the caller's logits
  std::vector<std::unique_ptr<ops::Buffer>> memory_;
  int32_t* token_ids_ = nullptr;
  int32_t* positions_ = nullptr;
  int32_t* token_types_ = nullptr;
  int32_t* logit_rows_ = nullptr;
  // Of ops/logits.h; null where the network ends otherwise: then every row of logits is written.
  int32_t* wanted_ = nullptr;
  const int32_t* best_id_ = nullptr;
  const float* best_ = nullptr;
  std::unique_ptr<PagedKvView> kv_ = std::make_unique<PagedKvView>();
  ops::Backend* backend_ = nullptr;
  ProgramHook hook_;
  bool has_hook_ = false;
  int32_t max_tokens_ = 0, max_rows_ = 0;
  int64_t last_tokens_ = -1, last_rows_ = -1;
  int64_t arena_bytes_ = 0, unshared_bytes_ = 0;
};

// True when `table` has a kernel for `op`.
bool HasKernel(const ops::OpTable& table, ops::OpId op);

}  // namespace rill::model
