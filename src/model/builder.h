// Builder: records a Program. The forward (decoder.cc) is written against it like straight-line
// code: `x = b.RmsNorm("norm", x, w.norm)`.
//
// A Value is an activation: a buffer of the arena, or columns of one. Ops make new buffers; where
// an op may write over its input (its schema says so) and nothing reads that input later, Finish
// gives both the same memory. Ops named …InPlace change the buffer that they are given.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/program.h"

namespace rill::model {

// An activation with dimension 0 counting tokens or logit rows. A small value type.
struct Value {
  int32_t buffer = -1;  // -1: none
  RowsOf rows = RowsOf::kTokens;
  DType dtype = DType::kF32;
  int64_t offset = 0;      // elements from the start of a row
  int64_t row_stride = 0;  // elements
  int64_t heads = 0;       // 0: [rows, size], else [rows, heads, size]
  int64_t head_stride = 0;
  int64_t size = 0;

  bool empty() const { return buffer < 0; }
  int64_t width() const { return heads == 0 ? size : heads * size; }
  // Columns [begin, begin + count) of [rows, size], or of every head.
  Value Columns(int64_t begin, int64_t count) const;
  // [rows, num_heads * head_size] as [rows, num_heads, head_size].
  Value Heads(int64_t num_heads) const;
  // [rows, heads, size], contiguous in a row, as [rows, heads * size].
  Value Flat() const;
  // One head [rows, 1, size] seen as num_heads equal ones.
  Value Broadcast(int64_t num_heads) const;
};

struct LinearWeights {
  const ops::PackedWeight* w = nullptr;
  TensorView bias;
  bool empty() const { return w == nullptr; }
};

struct NormWeights {
  TensorView weight, bias;
};

class Builder {
 public:
  Builder(ops::Backend& backend, int32_t max_tokens, int32_t max_rows);

  // Prefix of the places recorded while it lives: "layers.3.attn".
  class Scope {
   public:
    Scope(Builder& builder, std::string name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Builder& builder_;
    size_t old_size_;
  };

  // The step's inputs: [num_tokens] or [num_rows] i32.
  Value TokenIds();
  Value Positions();
  Value TokenTypes();
  Value LogitRows();

  Value NewBuffer(RowsOf rows, int64_t size, DType dtype = DType::kF32);

  Value Embedding(std::string_view place, const ops::PackedWeight& table, Value ids, float scale);
  Value PositionEmbedding(std::string_view place, Value x, const ops::PackedWeight& table,
                          Value positions, int32_t offset);
  Value RmsNorm(std::string_view place, Value x, const NormWeights& w, float eps,
                float weight_bias);
  Value LayerNorm(std::string_view place, Value x, const NormWeights& w, float eps);
  // In place over heads [rows, heads, size].
  void RmsNormInPlace(std::string_view place, Value x, const NormWeights& w, float eps,
                      float weight_bias);
  void LayerNormInPlace(std::string_view place, Value x, const NormWeights& w, float eps);
  // h = x + skip, y = norm(h); returns {h, y}.
  struct Skip {
    Value h, y;
  };
  Skip SkipRmsNorm(std::string_view place, Value x, Value skip, const NormWeights& w, float eps,
                   float weight_bias);
  Skip SkipLayerNorm(std::string_view place, Value x, Value skip, const NormWeights& w, float eps);
  Value Linear(std::string_view place, Value x, const LinearWeights& w, float scale = 1.0f,
               Value residual = {});
  // A norm of whole rows that an op may take along; weights null: none.
  struct InputNorm {
    ops::InputNorm kind = ops::InputNorm::kNone;
    const NormWeights* weights = nullptr;
    float eps = 0;
    float weight_bias = 0;
  };
  // The normed rows at "norm"; x itself where there is none.
  Value Normed(Value x, const InputNorm& norm);
  // Linear of the normed rows: one op where the backend has it, else two ("norm" beside `place`).
  Value NormLinear(std::string_view place, Value x, const InputNorm& norm, const LinearWeights& w);
  // residual + scale * down(f(gate n) * (up n)), n the normed rows: one op ("mlp") where the
  // backend has it and gains by it, else "gate_up", with the norm in it, and "down".
  Value GatedFfn(Value x, const InputNorm& norm, const LinearWeights& gate_up,
                 const LinearWeights& down, ops::ActivationKind kind, float scale, Value residual);
  // Writes the caller's logits. is_last: no op follows that reads them, so that of some rows the
  // largest may be enough (ops/logits.h), where the backend has that.
  Value LogitsLinear(std::string_view place, Value x, const LinearWeights& w, float scale,
                     bool is_last);
  Value LinearGlu(std::string_view place, Value x, const LinearWeights& w, ops::ActivationKind kind,
                  const InputNorm& norm);
  Value Activation(std::string_view place, Value x, ops::ActivationKind kind);
  Value Add(std::string_view place, Value a, Value b, float b_scale = 1.0f);
  void Copy(std::string_view place, Value from, Value to);
  Value GatherRows(std::string_view place, Value x, Value rows);
  // The caller's logits as the target of a gather (encoders).
  void GatherToLogits(std::string_view place, Value x, Value rows);
  void ClampInPlace(std::string_view place, Value x, float limit);
  void SoftcapInPlace(std::string_view place, Value x, float cap);
  Value RopeAngles(std::string_view place, Value positions, TensorView inv_freq, float magnitude);
  void RopeInPlace(std::string_view place, Value x, Value cos_sin, bool interleaved);
  void KvAppend(std::string_view place, Value k, Value v, int32_t layer);
  void RopeKvAppend(std::string_view place, Value q, Value k, Value v, Value cos_sin, int32_t layer,
                    bool interleaved);
  struct AttentionOptions {
    TensorView alibi_slopes, sinks;
    int32_t layer = 0;
    float score_scale = 1.0f;
    float softcap = 0.0f;
    int32_t window = 0;
    bool causal = true;
  };
  Value PagedAttention(std::string_view place, Value q, int64_t v_dim,
                       const AttentionOptions& options);
  struct Routing {
    Value ids, weights;
  };
  // `options`: the attributes; tensors in it are ignored but correction_bias.
  Routing MoeRoute(std::string_view place, Value logits, int64_t top_k,
                   const ops::MoeRouteArgs& options);
  Value MoeFfn(std::string_view place, Value x, Routing routing, const ops::PackedWeight& gate_up,
               const ops::PackedWeight& down, ops::ActivationKind kind, bool ungated,
               Value residual);

  // The layout that PagedKvView will have at run time (any KV dtype and page size), for checks.
  void SetKvLayout(const KvLayout& layout);

  // Plans the arena, allocates it, checks every node's arguments at the largest sizes.
  // Errors: kUnsupported listing every op without a kernel; kInvalidArgument naming place and
  // argument; kResourceExhausted when the arena does not fit.
  Result<std::unique_ptr<Program>> Finish();

  // Bytes that Finish would allocate.
  Result<int64_t> PlanBytes();

 private:
  struct Binding {
    size_t offset;  // of the view in the argument struct
    bool is_output;
    Value value;
  };
  struct BufferInfo {
    RowsOf rows = RowsOf::kTokens;
    DType dtype = DType::kF32;
    int64_t size = 0;               // elements per row
    bool is_input = false;          // ids and positions: live for the whole step
    bool is_logits = false;         // the caller's memory
    int32_t first = -1, last = -1;  // nodes that use it
    int32_t shares = -1;            // buffer whose memory it takes over
    int64_t address = 0;            // bytes into the arena
    int64_t end_of_use = -1;        // last use of it and of everything that shares it
  };

  template <typename Args>
  void Record(ops::OpId op, std::string_view place, const Args& args,
              std::vector<Binding> bindings);
  Value LogitsBuffer(int64_t size);
  int64_t Bytes(const BufferInfo& buffer) const;
  void ShareInPlace();
  int64_t PlaceBuffers();
  Status CheckKernels() const;

  ops::Backend& backend_;
  std::unique_ptr<Program> program_;
  std::vector<std::vector<Binding>> bindings_;  // of each node
  std::vector<BufferInfo> buffers_;
  std::string scope_;
  int32_t token_ids_ = -1, positions_ = -1, token_types_ = -1, logit_rows_ = -1, logits_ = -1;
  int32_t wanted_ = -1, best_id_ = -1, best_ = -1;  // ops/logits.h
  int32_t max_tokens_, max_rows_;
  bool planned_ = false;
  int64_t arena_bytes_ = 0;
};

}  // namespace rill::model
