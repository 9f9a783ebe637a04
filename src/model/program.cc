#include "model/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "model/lanes.h"

namespace rill::model {
namespace {

std::string DescribeParam(const ops::OpParam& param, const std::byte* args) {
  const std::byte* at = args + param.offset;
  switch (param.kind) {
    case ops::ParamKind::kTensor:
    case ops::ParamKind::kMutableTensor: {
      const auto& view = *reinterpret_cast<const TensorView*>(at);
      if (view.rank() == 0) return {};
      return fmt::format("{} {} {}", param.name, view.shape.ToString(), DTypeName(view.dtype));
    }
    case ops::ParamKind::kWeight: {
      const auto* weight = *reinterpret_cast<const ops::PackedWeight* const*>(at);
      if (weight == nullptr) return {};
      const std::string experts =
          weight->num_experts() > 1 ? fmt::format("{}, ", weight->num_experts()) : std::string();
      return fmt::format("{} {} [{}{}, {}] {}", param.name, weight->name(), experts, weight->rows(),
                         weight->cols(), weight->Describe());
    }
    case ops::ParamKind::kKv: return std::string(param.name);
    case ops::ParamKind::kF32:
      return fmt::format("{}={}", param.name, *reinterpret_cast<const float*>(at));
    case ops::ParamKind::kI32:
      return fmt::format("{}={}", param.name, *reinterpret_cast<const int32_t*>(at));
    case ops::ParamKind::kBool:
      return fmt::format("{}={}", param.name, *reinterpret_cast<const bool*>(at));
    case ops::ParamKind::kEnum: {
      const int32_t value = *reinterpret_cast<const int32_t*>(at);
      const bool known = value >= 0 && static_cast<size_t>(value) < param.enum_names.size();
      return fmt::format("{}={}", param.name,
                         known ? param.enum_names[static_cast<size_t>(value)] : "?");
    }
  }
  return {};
}

}  // namespace

bool HasKernel(const ops::OpTable& table, ops::OpId op) {
  switch (op) {
#define OP(file, Name) \
  case ops::OpId::k##Name: return table.file != nullptr;
#include "ops/op_list.def"
#undef OP
  }
  return false;
}

std::string ProgramNode::Describe() const {
  std::string inputs, outputs;
  for (const ops::OpParam& param : schema().params) {
    const std::string text = DescribeParam(param, args.get());
    if (text.empty()) continue;
    const bool out = param.role == ops::ParamRole::kOut;
    std::string& list = out ? outputs : inputs;
    if (!list.empty()) list += ", ";
    list += text;
  }
  return fmt::format("{}({}){}", schema().name, inputs,
                     outputs.empty() ? std::string() : " -> " + outputs);
}

Status Program::Run(const ProgramInput& input) {
  const auto num_tokens = static_cast<int64_t>(input.token_ids.size());
  const auto num_rows = static_cast<int64_t>(input.logit_rows.size());
  std::copy(input.token_ids.begin(), input.token_ids.end(), token_ids_);
  std::copy(input.positions.begin(), input.positions.end(), positions_);
  std::copy(input.logit_rows.begin(), input.logit_rows.end(), logit_rows_);
  if (token_types_ != nullptr) {
    if (input.token_types.empty()) std::fill_n(token_types_, num_tokens, 0);
    std::copy(input.token_types.begin(), input.token_types.end(), token_types_);
  }
  *kv_ = input.kv;
  for (MutableTensorView* view : logits_) {
    view->data = input.logits.data;
    view->strides[0] = input.logits.stride(0);
  }
  if (num_tokens != last_tokens_ || num_rows != last_rows_) {
    for (const RowPatch& patch : patches_) {
      *patch.dim = patch.rows == RowsOf::kTokens ? num_tokens : num_rows;
    }
    last_tokens_ = num_tokens;
    last_rows_ = num_rows;
  }
  if (wanted_ != nullptr) {
    if (input.wanted.empty()) std::fill_n(wanted_, num_rows, 1);
    std::copy(input.wanted.begin(), input.wanted.end(), wanted_);
  }
  Status status = RunNodes(input);
  for (size_t row = 0; row < input.best.size(); ++row) {
    input.best[row] =
        best_id_ != nullptr ? ops::BestLogit{best_id_[row], best_[row]} : ops::BestLogit{};
  }
  return status;
}

Status Program::RunNodes(const ProgramInput& input) {
  const ops::OpTable& table = backend_->ops();
  ops::Stream& stream = input.stream != nullptr ? *input.stream : backend_->stream();
  if (input.gate != nullptr) {
    for (const ProgramNode& node : nodes_) {
      if (node.op == ops::OpId::kPagedAttention) input.gate->Wait();
      ops::CallOp(table, node.op, node.args.get(), stream);
      if (node.op == ops::OpId::kKvAppend || node.op == ops::OpId::kRopeKvAppend) {
        input.gate->Appended();
      }
    }
    return stream.Synchronize();
  }
  if (!has_hook_) {
    for (const ProgramNode& node : nodes_) ops::CallOp(table, node.op, node.args.get(), stream);
    return stream.Synchronize();
  }
  for (const ProgramNode& node : nodes_) {
    if (hook_.before) hook_.before(node);
    ops::CallOp(table, node.op, node.args.get(), stream);
    RILL_RETURN_IF_ERROR(stream.Synchronize());
    if (hook_.after) hook_.after(node);
  }
  return OkStatus();
}

void Program::SetHook(ProgramHook hook) {
  hook_ = std::move(hook);
  has_hook_ = hook_.before || hook_.after;
}

Result<std::vector<float>> Program::ReadOutput(const ProgramNode& node) {
  for (const ops::OpParam& param : node.schema().params) {
    if (param.kind != ops::ParamKind::kMutableTensor) continue;
    const auto& view = *reinterpret_cast<const MutableTensorView*>(node.args.get() + param.offset);
    if (view.dtype != DType::kF32 || view.rank() < 2) continue;
    std::vector<float> out;
    out.reserve(static_cast<size_t>(view.shape.NumElements()));
    const int64_t inner = view.rank() == 3 ? view.dim(1) : 1;
    const int64_t inner_stride = view.rank() == 3 ? view.stride(1) : 0;
    for (int64_t t = 0; t < view.dim(0); ++t) {
      for (int64_t g = 0; g < inner; ++g) {
        const float* row = view.As<float>() + t * view.stride(0) + g * inner_stride;
        out.insert(out.end(), row, row + view.dim(view.rank() - 1));
      }
    }
    return out;
  }
  return Unsupported(node.place + ": writes no f32 tensor");
}

}  // namespace rill::model
