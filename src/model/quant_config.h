// QuantConfig: how a Hugging Face checkpoint says its matrices are quantised. From
// "quantization_config" of config.json, or, in older checkpoints, quantize_config.json (AutoGPTQ)
// or quant_config.json (AutoAWQ) beside it.
//
// To add a method: a value here, its reading in quant_config.cc, its tensors in weight_quant.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_source.h"
#include "quant/gptq.h"
#include "rill/status.h"

namespace rill::model {

enum class QuantMethod : uint8_t { kNone, kGptq, kAwq };

struct QuantConfig {
  QuantMethod method = QuantMethod::kNone;
  int bits = 4;                 // AWQ 4; GPTQ 2, 3, 4, 8
  int64_t group_size = -1;      // columns; -1: all of a row
  bool act_order = false;       // GPTQ "desc_act": matrices of more than one group need their g_idx
  bool zeros_minus_one = true;  // GPTQ format "gptq" (v1); "gptq_v2" stores zero points as they are
  quant::Int3Zeros int3_zeros = quant::Int3Zeros::kFields;  // of v1 at 3 bits
  // GPTQModel's "dynamic": bits and group size differ by module. Shapes tell the bits, and which of
  // the sizes that the configuration names is the group: group_size or one of the rules' own.
  bool from_shapes = false;
  std::vector<int64_t> rule_group_sizes;  // distinct, at most kMaxRuleGroupSizes

  // "gptq 4 bits, groups of 128"
  std::string Describe() const;
};

inline constexpr size_t kMaxRuleGroupSizes = 16;

// What the errors list.
inline constexpr std::string_view kSupportedQuantConfigs =
    "gptq (format gptq or gptq_v2; bits 2, 3, 4, 8; any act-order) and awq (version gemm; bits 4), "
    "groups that are multiples of 32 or -1";

// Has it a matrix in packed tensors (*.qweight)?
bool HasPackedTensors(const io::TensorDirectory& tensors);

// Errors: kUnsupported for another method, version, format or width; kInvalidArgument for a value
// of the wrong type or size. Both name file and key, a tensor that is quantised so, where the file
// has one by a usual name, and the list above.
Result<QuantConfig> ReadQuantConfig(const io::ModelSource& source);

}  // namespace rill::model
