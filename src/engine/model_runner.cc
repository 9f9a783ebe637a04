#include "engine/model_runner.h"

#include <fmt/format.h>

#include <cstring>

#include "base/checked_math.h"
#include "base/touch_memory.h"

namespace rill::engine {

Result<std::unique_ptr<ModelRunner>> ModelRunner::Create(model::Model& model, ops::Backend& backend,
                                                         const ModelRunnerOptions& options) {
  const model::ModelConfig& config = model.config();
  if (config.is_encoder) {
    return Unsupported(fmt::format("{} is an encoder: it generates no tokens", config.family));
  }
  if (options.page_size < 16 || options.page_size % 16 != 0) {
    return InvalidArgument(
        fmt::format("page_size: expected a multiple of 16, got {}", options.page_size));
  }
  if (options.num_pages < 1) {
    return InvalidArgument(fmt::format("num_pages: expected 1 or more, got {}", options.num_pages));
  }
  const KvLayout layout = model.MakeKvLayout(options.kv_dtype, options.page_size);
  const auto bytes = CheckedMul<int64_t>(layout.page_bytes(), options.num_pages);
  if (!bytes) {
    return ResourceExhausted(fmt::format("KV memory: {} pages of {} bytes are beyond 64 bits",
                                         options.num_pages, layout.page_bytes()));
  }
  Result<std::unique_ptr<ops::Buffer>> memory = backend.Allocate(*bytes);
  if (!memory.ok()) {
    return memory.status().WithPrefix(
        fmt::format("KV memory of {} pages of {} bytes", options.num_pages, layout.page_bytes()));
  }
  if (options.preallocate) {
    RILL_RETURN_IF_ERROR(TouchMemory((*memory)->data(), *bytes).WithPrefix("KV memory"));
  }
  RunnerInfo info;
  info.vocab_size = config.vocab_size;
  info.max_context = config.max_context;
  info.page_size = options.page_size;
  info.scrubs = options.scrub;
  info.num_pages = options.num_pages;
  info.max_step_tokens = options.max_step_tokens;
  info.max_step_rows = options.max_step_rows > 0 ? options.max_step_rows : options.max_step_tokens;
  return std::unique_ptr<ModelRunner>(
      new ModelRunner(model, backend, info, layout, std::move(memory).value()));
}

StepCost ModelRunner::Cost(const StepPlan& plan) const {
  return cost_.Of(plan.num_tokens(), plan.num_rows(), plan.num_seqs(), plan.q_offsets.data(),
                  plan.kv_lens.data());
}

void ModelRunner::Scrub(std::span<const int32_t> pages) {
  const int64_t page_bytes = layout_.page_bytes();
  // A page that is there twice is not written by two threads at once: each takes its own share of
  // every page.
  const int64_t num_parts = num_threads();
  ForEach(num_parts, [&](int64_t part, int) {
    const int64_t begin = page_bytes * part / num_parts, end = page_bytes * (part + 1) / num_parts;
    for (int32_t page : pages) {
      std::memset(memory_->data() + page * page_bytes + begin, 0xFF,
                  static_cast<size_t>(end - begin));
    }
  });
}

Status ModelRunner::Run(const StepPlan& plan, const StepOutput& output) {
  const int64_t page_bytes = layout_.page_bytes();
  for (const kv::PageCopy& copy : plan.copies) {
    // Host-visible memory; a device backend will bring a copy of its own.
    std::memcpy(memory_->data() + copy.to * page_bytes, memory_->data() + copy.from * page_bytes,
                static_cast<size_t>(page_bytes));
  }
  model::StepInput input;
  input.token_ids = plan.token_ids;
  input.positions = plan.positions;
  input.logit_rows = plan.logit_rows;
  input.wanted = plan.wanted;
  input.best = output.best;
  input.kv.layout = layout_;
  input.kv.base = memory_->data();
  input.kv.num_pages = info_.num_pages;
  input.kv.num_seqs = plan.num_seqs();
  input.kv.max_pages = plan.max_pages;
  input.kv.page_table = plan.page_table.data();
  input.kv.q_offsets = plan.q_offsets.data();
  input.kv.kv_lens = plan.kv_lens.data();
  return model_.Forward(input, output.logits);
}

}  // namespace rill::engine
