// What Llm holds. Shared by the files that implement it (llm.cc, inspect.cc, evaluation.cc).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "engine/model_runner.h"
#include "io/model_source.h"
#include "llm/chat_templates.h"
#include "llm/evaluator.h"
#include "model/model.h"
#include "ops/backend.h"
#include "rill/llm.h"
#include "text/tokenizer.h"

namespace rill {

struct Llm::Impl {
  LoadOptions options;
  ModelInfo info;
  io::ModelSource source;
  bool release_source = false;  // its tensors were read into memory for this load alone
  quant::KvFormat kv_dtype = quant::KvFormat::kF16;

  // Null with the reason why not: a folder of weights alone can still be evaluated.
  std::shared_ptr<const text::Tokenizer> tokenizer;
  Status tokenizer_status;
  std::shared_ptr<const llm::ChatTemplates> chat_templates;
  Status template_status;  // of a chat without tools

  std::optional<model::ModelPlan> plan;  // only with options.plan_only

  // Null when options.text_only or plan_only. Destroyed in reverse order: engine before model
  // before backend.
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<engine::ModelRunner> runner;
  std::unique_ptr<engine::Engine> engine;

  Status LoadText();
  Status LoadModel();
  Status PlanModel();
  model::ModelOptions MakeModelOptions() const;
  void SetInfo(const model::ModelConfig& config);
  // Built on first use: `run` without generation needs no KV memory, evaluation no scheduler.
  Status EnsureEngine();
  Result<std::unique_ptr<llm::Evaluator>> MakeEvaluator(int32_t max_tokens);
};

}  // namespace rill
