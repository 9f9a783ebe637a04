// Case: one call of an op as data, and Instance: that call set up on a backend.
//
// A case names the op's parameters as its schema does; argument structs are filled through the
// schema's offsets, so one runner serves every op.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace rill::conformance {

enum class Fill {
  kUniform,  // [-1, 1)
  kLarge,    // [-1e4, 1e4)
  kTiny,     // f32 denormals and their neighbours
  kZero,
  kOutliers,  // uniform with a few values of 100
  kSpecials,  // uniform; row 1 has a NaN, row 2 an Inf, row 3 a -Inf
  kSpread,    // distinct, far apart: no near ties
};

struct TensorSpec {
  std::vector<int64_t> shape;
  Fill fill = Fill::kUniform;
  std::vector<int32_t> ints;  // i32 tensors: the values
  int64_t pad = 0;            // extra elements after each row of the first dimension
  bool broadcast = false;     // stride 0 in dimension 1
  std::string same_as;        // alias of this parameter
};

struct WeightSpec {
  struct Part {
    DType dtype;  // i8: with one scale a row
    int64_t rows;
  };
  std::vector<Part> parts;
  int64_t cols = 0;
  int64_t num_experts = 0;  // 0: rank 2
  bool paired = false;
  bool row_access = false;
  bool matmul = true;
  Fill fill = Fill::kUniform;
  bool act_order = false;  // columns are stored in another order than the input's
};

struct KvSpec {
  KvLayout layout;
  struct Sequence {
    int32_t q_len, kv_len;
  };
  std::vector<Sequence> sequences;
  bool filled = true;  // pages hold random values; else NaN, which must never be read
};

struct Case {
  ops::OpId op;
  std::string name;
  std::map<std::string, TensorSpec> tensors;
  std::map<std::string, WeightSpec> weights;
  std::map<std::string, KvSpec> kv;
  std::map<std::string, double> attributes;  // f32, i32, bool, enum
  bool rows_alone = true;                    // each token by itself gives the same bits
  ops::ActivationMode activations = ops::ActivationMode::kF32;

  Case(ops::OpId id, std::string case_name) : op(id), name(std::move(case_name)) {}
  Case& T(const std::string& param, std::vector<int64_t> shape, Fill fill = Fill::kUniform,
          int64_t pad = 0);
  Case& I(const std::string& param, std::vector<int64_t> shape, std::vector<int32_t> values);
  Case& W(const std::string& param, WeightSpec spec) { return weights[param] = spec, *this; }
  Case& K(KvSpec spec) { return kv["kv"] = std::move(spec), *this; }
  Case& A(const std::string& param, double value) { return attributes[param] = value, *this; }
  Case& Alias(const std::string& out, const std::string& in);

  // Rows of the step; -1 when the op has none of that name.
  int64_t NumTokens() const;
  std::string FullName() const;
};

// Cases of an op y = f(x) on rows with one attribute: sizes around a vector's, padded rows, in
// place, extreme values. `fill` and `value` of the sizes, `extreme_value` of the extreme ones.
std::vector<Case> RowCases(ops::OpId op, const std::string& attribute, double value, Fill fill,
                           double extreme_value);

// Everything an op wrote: per output, its elements in logical order (NaN-filled padding must stay).
struct Output {
  std::string param;
  std::vector<float> values;
};

class Instance {
 public:
  // Sets the case up on `backend`: storage, packed weights, pages.
  static Result<std::unique_ptr<Instance>> Make(const Case& test_case, ops::Backend& backend);

  // CheckArgs, then the kernel, over tokens [begin, end) of the case.
  Status Run(int64_t begin, int64_t end);
  bool HasKernel() const;
  std::vector<Output> Outputs() const;
  // Inputs as they were before Run, for bounds. f32 values in logical order.
  const std::vector<float>& Values(const std::string& param) const { return inputs_.at(param); }
  // Rows of a weight, decoded: [num_experts * rows, cols].
  std::vector<float> Decoded(const std::string& param) const;
  const PagedKvView& Kv() const { return kv_view_; }
  // False when a byte outside the outputs' elements changed.
  bool PaddingIsIntact() const;

 private:
  struct Storage {
    std::vector<std::byte> bytes;
    MutableTensorView view;
  };
  Status MakeTensor(const ops::OpParam& param, const TensorSpec& spec);
  Status MakeWeight(const ops::OpParam& param, const WeightSpec& spec);
  void MakeKv(const KvSpec& spec);

  const Case* case_ = nullptr;
  ops::Backend* backend_ = nullptr;
  std::map<std::string, std::shared_ptr<Storage>> tensors_;
  std::map<std::string, std::vector<float>> inputs_;
  std::map<std::string, std::unique_ptr<ops::PackedWeight>> packed_;
  std::map<std::string, ops::WeightSource> sources_;
  std::deque<std::vector<std::byte>> weight_bytes_;
  std::vector<std::byte> kv_bytes_, kv_before_;
  std::vector<int32_t> page_table_, q_offsets_, kv_lens_, step_table_, step_offsets_, step_lens_;
  PagedKvView kv_view_, step_view_;
  std::vector<std::byte> args_;
};

// The case table of every op: <op>_cases.cc.
#define OP(file, Name) std::vector<Case> Name##Cases();
#include "ops/op_list.def"
#undef OP
std::vector<Case> AllCases();

}  // namespace rill::conformance
