// The weights of a network: found by name, shape-checked, merged (q, k, v in one matrix; gate and
// up in pairs) and packed by the backend.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "io/tensor_directory.h"
#include "model/builder.h"
#include "model/decoder_spec.h"
#include "model/pack_cache.h"
#include "model/quant_config.h"
#include "model/weight_mode.h"
#include "model/weight_names.h"
#include "ops/backend.h"
#include "quant/row_reader.h"
#include "rill/status.h"

namespace rill::model {

struct LayerWeights {
  NormWeights attn_norm, ffn_norm, post_attn_norm, post_ffn_norm, q_norm, k_norm;
  LinearWeights qkv;  // rows: q, k, v
  LinearWeights o;
  // MLA
  LinearWeights q_a, q, kv_a;  // q: q_b, or the full projection
  // Rows: each head's keys and values; or, from two tensors, all keys and then all values.
  LinearWeights kv_b;
  bool kv_b_by_head = true;
  NormWeights q_a_norm, kv_a_norm;
  LinearWeights gate_up;  // paired, or up alone for a plain MLP
  LinearWeights down;
  LinearWeights router;
  TensorView router_correction;
  LinearWeights expert_gate_up, expert_down;
  LinearWeights shared_gate_up, shared_down;
  // The shared expert as a mixture of one, when a gate weighs it.
  LinearWeights shared_router;
};

struct DecoderWeights {
  const ops::PackedWeight* embed = nullptr;
  const ops::PackedWeight* positions = nullptr;
  const ops::PackedWeight* token_types = nullptr;
  LinearWeights project_in, project_out;
  NormWeights embed_norm, final_norm;
  LinearWeights lm_head;
  std::vector<LayerWeights> layers;
  std::vector<TensorView> inv_freqs;  // of each RoPE
  TensorView alibi_slopes;
};

// The matrices and tables of a network, each once.
struct MatrixUse {
  int64_t weights = 0;
  int64_t file_bytes = 0;   // as they lie in the file, zero points and scales included
  int64_t model_bytes = 0;  // as they are multiplied: packed, made at load, or read in place
  // Formats of the file's rows (of AWQ and GPTQ: that they are put together as) and their weights.
  std::vector<std::pair<DType, int64_t>> formats;
};

// Finds and checks, then packs. Keeps the packed weights.
//
// Owner thread: whoever loads. After Pack it is a container.
class WeightSet {
 public:
  WeightSet(const io::TensorDirectory& tensors, std::string culprit, const DecoderSpec& spec,
            const WeightNames& names, const QuantConfig& quant);
  ~WeightSet();

  // Names and shapes only; allocates nothing of the model's size. Errors name the tensor, what was
  // expected and what the file has; a matrix that the file has twice, as `X.qweight` and as
  // `X.weight`, is one.
  Status Resolve();

  struct Sizes {
    int64_t file_bytes = 0;  // of the tensors in use, as they lie in the file
    int64_t num_parameters = 0;
  };
  Sizes sizes() const;  // after Resolve
  // Tensors of the file that this network does not read.
  std::vector<std::string> UnusedTensors() const;

  // Once, after Resolve: either packs, or gives every weight its shape and no bytes, which is
  // enough to record a forward and plan its memory.
  void PackShapes();
  // Errors of a mode other than kFile, kUnsupported and with the name of the file's tensor: a
  // matrix that the file has quantised, rows of a length that the format lacks, a weight that it
  // cannot hold (quant/encode_rows.h). on_matrix (may be null): bytes of the file done, of all,
  // after each matrix. cache (may be null): gives what it has of the matrices, and gets all of
  // them. Without one, each matrix's part of the file leaves this process's memory when it is
  // packed: see ReleaseSource.
  Status Pack(ops::Backend& backend, ops::ActivationMode activations, WeightMode mode,
              const std::function<void(int64_t done, int64_t total)>& on_matrix = nullptr,
              PackCache* cache = nullptr, bool release_own_memory = false);
  // After Pack: tensors of the file in which it saw a NaN or an Inf, in the order of packing; of
  // matrices where the backend looks.
  const std::vector<std::string>& damaged_tensors() const { return damaged_tensors_; }
  // After Pack: gives back the memory of all tensors that no packed weight may be read from. Bytes
  // of a mapping can be read again; those that were read into memory only go, and are zeros then,
  // with `own_memory`.
  void ReleaseSource(bool own_memory) const;

  const DecoderWeights& weights() const { return weights_; }
  int64_t packed_bytes() const { return packed_bytes_; }
  int64_t mapped_bytes() const { return mapped_bytes_; }
  const MatrixUse& matrix_use() const { return matrix_use_; }

 private:
  // Rows of one or more tensors of the file: `view` alone where they lie there as rows, else
  // `reader`, and a view without data.
  struct Part {
    TensorView view;  // [N, K] or [num_experts, N, K]
    std::shared_ptr<const quant::RowReader> reader;
    int64_t file_bytes = 0;
    std::vector<std::string> tensors;  // of the file, for errors: one, or one an expert
    std::vector<std::string> reads;    // the same, or also those beside them: scales, zero points
    int64_t first_row = 0;             // of those tensors

    Part() = default;
    Part(const TensorView& in_place, std::string tensor)
        : view(in_place), file_bytes(in_place.SizeBytes()), tensors{std::move(tensor)} {
      reads = tensors;
    }
    Part(std::shared_ptr<const quant::RowReader> rows, int64_t bytes, std::vector<std::string> from,
         std::vector<std::string> all);
    // The same rows made anew.
    Part With(std::shared_ptr<const quant::RowReader> rows) const;
    std::shared_ptr<const quant::RowReader> Rows() const;
  };
  // One matrix to pack: row blocks in order.
  struct Matrix {
    std::string name;
    std::vector<Part> parts;
    bool unit_rows = false;
    bool paired = false, row_access = false, matmul = true;
    bool encode = true;  // by a WeightMode other than kFile
    const ops::PackedWeight** target = nullptr;
  };
  struct Vector {
    std::vector<TensorView> parts;  // flat pieces in order; an empty one is zeros of `zeros`
    std::vector<int64_t> zeros;
    std::vector<float> values;  // when not from the file
    Shape shape;
    TensorView* target = nullptr;
  };

  const io::TensorEntry* Find(const std::string& name);
  // The tensor `name` with exactly `shape`, or an error.
  Result<TensorView> Get(const std::string& name, const Shape& shape);
  // The tensor `name` of one of these dtypes and this shape, as it is.
  Result<TensorView> GetExact(const std::string& name, std::initializer_list<DType> dtypes,
                              const Shape& shape);
  bool HasMatrix(const std::string& base) const;
  // `base`.weight, or the tensors that quantisation made of it.
  Result<Part> GetMatrix(const std::string& base, int64_t rows, int64_t cols);
  Result<Part> GetPacked(const std::string& base, int64_t rows, int64_t cols);
  const io::TensorEntry* FindOrder(const std::string& base, int64_t num_groups) const;
  static Part SliceOf(const Part& part, int64_t begin, int64_t count);
  Status AddLinear(const std::string& base, int64_t rows, int64_t cols, bool bias,
                   LinearWeights& out);
  Status AddBias(std::vector<std::string> bases, std::vector<int64_t> sizes, bool required,
                 TensorView& out);
  Status AddNorm(const std::string& base, const NormSpec& norm, const Shape& shape,
                 NormWeights& out);
  Status AddHeadNorms(const std::string& base, int64_t heads, NormWeights& out);
  Status AddTable(const std::string& base, int64_t rows, int64_t cols,
                  const ops::PackedWeight*& out);
  Status ResolveEnds();
  Status ResolveLayer(int32_t index);
  Status ResolveQkv(const std::string& prefix, LayerWeights& w);
  Status ResolveMla(const std::string& prefix, LayerWeights& w);
  Status ResolveMlp(const std::string& prefix, LayerWeights& w);
  Status ResolveMoe(const std::string& prefix, LayerWeights& w);
  Status AddGateUp(const std::string& prefix, const std::string& gate, const std::string& up,
                   const std::string& fused, int64_t size, bool bias, LinearWeights& out);
  Status AddExperts(const std::string& prefix, LayerWeights& w);
  Status CheckForgottenBiases() const;
  Status CheckPackedTwice() const;
  Status CheckForgottenParts() const;

  Result<Part> Stacked(const std::string& name, const std::vector<Part>& experts);
  Status Encode(WeightMode mode, Part& part) const;
  // Of what --weights makes: an error for the first weight that its format cannot hold.
  Status CheckRange(const Matrix& matrix, WeightMode mode) const;
  Status MergeOrders(ops::WeightSource& source) const;
  Status PackMatrix(Matrix& matrix, ops::Backend& backend, ops::ActivationMode activations,
                    WeightMode mode, PackCache* cache);
  // Where the matrix comes from and what is done with it: the same text, the same packed bytes, for
  // one set of files and one key of PackCache.
  std::string DescribeSource(const Matrix& matrix, const ops::WeightSource& source) const;
  Status PackVectors(ops::Backend& backend);
  void AddUse(const Matrix& matrix, const ops::WeightSource& source, bool encoded,
              int64_t packed_bytes);
  // Which tensors of the matrix have a NaN or an Inf: all, where only what was made of them has.
  void NameDamaged(const Matrix& matrix);
  void NameDamagedVector(const TensorView& part);
  // Calls fn(entry) of each tensor that the matrix is made of, as often as its parts read it.
  template <typename Fn>
  void ForEachTensor(const Matrix& matrix, Fn&& fn) const;
  // Whether a backend may read the file's bytes of a packed matrix again.
  bool MayReadSource(size_t matrix) const;
  void ReleaseView(const TensorView& view, bool own_memory) const;

  const io::TensorDirectory& tensors_;
  std::string culprit_;
  const DecoderSpec& spec_;
  const WeightNames& names_;
  const QuantConfig& quant_;
  DecoderWeights weights_;
  std::vector<Matrix> matrices_;
  std::vector<Vector> vectors_;
  std::vector<const io::TensorEntry*> used_;
  std::vector<std::unique_ptr<ops::PackedWeight>> packed_;
  std::unique_ptr<ops::Buffer> constants_;
  int64_t packed_bytes_ = 0, mapped_bytes_ = 0;
  MatrixUse matrix_use_;
  std::vector<std::string> damaged_tensors_;
};

// Every element is there and 0, of floating-point numbers also -0.
bool IsAllZero(const TensorView& view);

}  // namespace rill::model
