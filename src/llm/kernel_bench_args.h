// Arguments of one call of an operator on random weights and rows: what RunKernelBench times. One
// function for each operator of op_list.def, so that a new one does not link without it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "rill/bench.h"

namespace rill {

// Everything that a call's arguments point to.
struct KernelBenchData {
  const KernelBenchOptions& options;
  ops::Backend& backend;
  DType dtype = DType::kF32;  // of the weights; with w8a8 what they are made from
  quant::KvFormat kv_format = quant::KvFormat::kF16;
  bool w8a8 = false;
  std::deque<std::vector<std::byte>> memory = {};
  std::vector<std::unique_ptr<ops::PackedWeight>> weights = {};
  std::vector<std::unique_ptr<ops::Buffer>> buffers = {};
  PagedKvView kv = {};
  std::vector<int32_t> page_table = {}, q_offsets = {}, kv_lens = {};

  struct WeightShape {
    int64_t rows = 0, cols = 0;
    bool paired = false;
    int64_t num_experts = 1;
    bool is_table = false;
  };

  // f32 values in [-1, 1).
  MutableTensorView Tensor(Shape shape);
  // i32 values of `value(i)`.
  TensorView Ids(Shape shape, const std::function<int64_t(int64_t)>& value);
  // Cosine and sine of some angle in turn, [tokens, kHead]: what is turned over and over by them
  // keeps its length.
  TensorView CosSin();
  Status AddWeight(const WeightShape& shape);
  // As many sets of these as asked for, or as 256 MiB hold; then each(first weight of a set).
  Status AddSets(const std::vector<WeightShape>& shapes, const std::function<void(size_t)>& each);
  // Heads of 64; cols / 64 query heads, a quarter of them KV heads.
  static constexpr int32_t kHead = 64;
  int32_t num_heads() const { return std::max(1, options.cols / kHead); }
  // Each of `tokens` queries is a sequence of its own with `context` positions, as in a decode.
  Status AddKv();
};

// Is there room for `bytes` of `what`? The kernel of the operating system promises more memory than
// there is, so that asking it would end in a killed process.
Status CheckRoom(double bytes, const std::string& what);

// The argument struct of one call.
struct KernelCall {
  std::unique_ptr<std::byte[]> args;
  template <typename Args>
  static KernelCall Of(const Args& args) {
    KernelCall call;
    call.args = std::make_unique<std::byte[]>(sizeof(Args));
    new (call.args.get()) Args(args);
    return call;
  }
};

// The calls to make in turn, one for each set of weights: at least one.
#define OP(file, Name) Status Make##Name##Calls(KernelBenchData& b, std::vector<KernelCall>& calls);
#include "ops/op_list.def"
#undef OP

}  // namespace rill
