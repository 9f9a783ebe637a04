// OpSchema: an operator's contract as data. The argument checker, its error messages and the
// published page (docs/ops/<op>.md) are all made from it, so they cannot drift apart.
//
// A schema is built from the argument struct's own members (pointer to member), so a renamed or
// retyped field is a compile error; a test checks that no member is left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/weight.h"
#include "quant/paged_kv_view.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::ops {

enum class OpId : int32_t {
#define OP(file, Name) k##Name,
#include "ops/op_list.def"
#undef OP
};
inline constexpr int kNumOps = 0
#define OP(file, Name) +1
#include "ops/op_list.def"
#undef OP
    ;

enum class ParamKind : uint8_t { kTensor, kMutableTensor, kWeight, kKv, kF32, kI32, kBool, kEnum };
enum class ParamRole : uint8_t { kIn, kOut, kInOut, kAttribute };

struct OpParam {
  std::string_view name;
  ParamKind kind = ParamKind::kTensor;
  ParamRole role = ParamRole::kIn;
  size_t offset = 0;  // of the member in the argument struct
  // Tensors and weights: named dimensions, outermost first, "num_tokens, 2*intermediate_size".
  // A name used twice must have the same size. A dimension is a product of numbers, names of
  // dimensions or attributes and (number-attribute), and may be divided: "rotary_dim/2".
  // Alternatives of different rank are split by '|': "size | num_groups, size".
  // KV memory: the layout's sizes that take part, "num_kv_heads, k_dim, v_dim".
  std::string_view dims;
  std::vector<DType> dtypes;  // allowed element types (tensors)
  bool optional = false;
  std::vector<std::string_view> may_alias;  // names of inputs whose memory an output may share
  double min = 0, max = 0;  // attributes: inclusive range; min == max == 0: unbounded
  std::vector<std::string_view> enum_names;  // kEnum: names of values 0, 1, …
  // Weights: "" rows in plain order; "paired"; "paired unless <bool attribute>".
  std::string_view pairing;
  std::string_view doc;
};

struct OpSchema {
  OpId id{};
  std::string_view name;               // "rms_norm"
  int version = 1;                     // incompatible changes make a new version
  std::string_view summary;            // one line
  std::string_view formula;            // as in the header
  std::string_view source;             // paper or specification
  std::vector<std::string_view> tags;  // "norm", "fusion", "attention", …
  // Multiply-adds of one call, an expression like a dimension; paged_attention: of one token and
  // one position that it sees. Empty: none worth counting, and weights are read row by row.
  std::string_view macs;
  std::vector<OpParam> params;  // in the order of the struct's members
  // What must also hold: "rotary_dim <= head_dim", "num_heads % num_kv_heads == 0".
  std::vector<std::string_view> constraints;
  size_t args_size = 0;
  size_t num_members = 0;  // of the struct: equals params.size()

  const OpParam* FindParam(std::string_view param_name) const;
};

const OpSchema& SchemaOf(OpId id);
// nullptr when unknown.
const OpSchema* FindSchema(std::string_view name);

// Checks an argument struct against its schema: presence, rank, named dimensions, dtypes, strides
// (not negative, last one 1, an output's elements distinct), aliasing, attribute ranges,
// constraints, and, where the step's tables are given, that KV pages are in range.
// Message: "rms_norm: weight: expected [hidden_size=576] f32, got [64] f32". `args` is the op's own
// struct. Ops never accept strides other than these; every op accepts these.
Status CheckArgs(const OpSchema& schema, const void* args);

}  // namespace rill::ops
