// ModelRunner: carries out step plans on a model, over KV memory of a backend.
#pragma once

#include <memory>

#include "engine/step_runner.h"
#include "model/model.h"
#include "model/step_cost.h"
#include "ops/backend.h"
#include "rill/status.h"

namespace rill::engine {

struct ModelRunnerOptions {
  quant::KvFormat kv_dtype = quant::KvFormat::kF16;
  int32_t page_size = 64;         // positions, multiple of 16
  int32_t num_pages = 0;          // see PagesForContexts
  int32_t max_step_tokens = 512;  // as the model was loaded with
  int32_t max_step_rows = 0;      // as the model was loaded with; 0: max_step_tokens
  bool preallocate = false;       // KV memory is resident at once, not as it is first used
  // Pages that neither a sequence nor the prefix cache holds any more are filled with 0xFF, which
  // is not a number in every KV format: what reads it shows.
  bool scrub = false;
};

// Pages that let `num_sequences` sequences of `context` positions run side by side.
constexpr int64_t PagesForContexts(int64_t num_sequences, int64_t context, int32_t page_size) {
  return num_sequences * ((context + page_size - 1) / page_size);
}

class ModelRunner : public StepRunner {
 public:
  // `model` and `backend` must outlive the runner. Errors: kInvalidArgument naming the option;
  // kResourceExhausted when the KV memory cannot be had.
  static Result<std::unique_ptr<ModelRunner>> Create(model::Model& model, ops::Backend& backend,
                                                     const ModelRunnerOptions& options);

  const RunnerInfo& info() const override { return info_; }
  Status Run(const StepPlan& plan, const StepOutput& output) override;
  void Scrub(std::span<const int32_t> pages) override;
  StepCost Cost(const StepPlan& plan) const override;
  int num_threads() const override { return backend_.num_host_threads(); }
  void ForEach(int64_t count, ops::HostTask task) override { backend_.ForEach(count, task); }
  int64_t kv_bytes() const { return memory_->size_bytes(); }
  // The KV memory: [num_pages] pages. For tests.
  std::span<const std::byte> kv_memory() const {
    return {memory_->data(), static_cast<size_t>(kv_bytes())};
  }

 private:
  ModelRunner(model::Model& model, ops::Backend& backend, const RunnerInfo& info,
              const KvLayout& layout, std::unique_ptr<ops::Buffer> memory)
      : model_(model),
        backend_(backend),
        info_(info),
        layout_(layout),
        cost_(model.program(), layout),
        memory_(std::move(memory)) {}

  model::Model& model_;
  ops::Backend& backend_;
  const RunnerInfo info_;
  const KvLayout layout_;
  const model::StepCostModel cost_;
  std::unique_ptr<ops::Buffer> memory_;
};

}  // namespace rill::engine
