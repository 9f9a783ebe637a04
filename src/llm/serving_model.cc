#include "llm/serving_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>

#include "base/size_text.h"
#include "llm/chat_templates.h"
#include "llm/llm_impl.h"

namespace rill::llm {

Result<ServingPlan> ServingModel::Plan(const std::string& path, const LoadOptions& options) {
  LoadOptions plan_options = options;
  plan_options.plan_only = true;
  RILL_ASSIGN_OR_RETURN(const auto llm, Llm::Open(path, plan_options));
  const Llm::Impl& impl = *llm->impl_;
  const model::ModelPlan& model_plan = *impl.plan;
  ServingPlan plan;
  plan.path = path;
  plan.family = model_plan.config.family;
  plan.max_context = impl.info.max_context;
  plan.weight_bytes = model_plan.weight_bytes;
  plan.activation_bytes = model_plan.activation_bytes;
  KvLayout layout = model_plan.kv_layout;
  layout.format = impl.kv_dtype;
  layout.page_size = options.page_size;
  plan.kv_token_bytes = layout.page_bytes() / layout.page_size;
  return plan;
}

Result<std::unique_ptr<ServingModel>> ServingModel::Load(const std::string& path,
                                                         const ServingOptions& options) {
  std::unique_ptr<ServingModel> serving(new ServingModel());
  RILL_ASSIGN_OR_RETURN(serving->llm_, Llm::Open(path, options.load));
  Llm::Impl& impl = *serving->llm_->impl_;
  if (impl.info.is_encoder) {
    return Unsupported(path + ": family " + impl.info.family +
                       " is an encoder, it generates nothing");
  }
  if (!impl.tokenizer) return impl.tokenizer_status;
  const model::Model::MemoryUse use = impl.model->memory();
  serving->weight_bytes_ = use.packed_bytes + use.mapped_bytes;
  serving->activation_bytes_ = use.activation_bytes;
  const KvLayout layout = impl.model->MakeKvLayout(impl.kv_dtype, impl.options.page_size);
  const int64_t page_bytes = std::max<int64_t>(layout.page_bytes(), 1);
  const int64_t least = engine::PagesForContexts(1, impl.info.max_context, impl.options.page_size);
  int64_t kv_bytes = options.kv_bytes;
  if (options.memory_bytes) {
    const int64_t own_bytes = serving->weight_bytes_ + serving->activation_bytes_;
    const int64_t room = *options.memory_bytes - own_bytes;
    if (room < least * page_bytes) {
      return ResourceExhausted(fmt::format(
          "{}: loaded, it needs at least {}, the memory budget has {} for it (--memory; a smaller "
          "--context takes less): weights {}, activations {}, one context of {} positions {}",
          path, SizeText(own_bytes + least * page_bytes), SizeText(*options.memory_bytes),
          SizeText(serving->weight_bytes_), SizeText(serving->activation_bytes_),
          impl.info.max_context, SizeText(least * page_bytes)));
    }
    kv_bytes = std::min(kv_bytes, room);
  }
  const auto begin = std::chrono::steady_clock::now();
  const Result<uint64_t> fingerprint = serving->llm_->Fingerprint();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  if (fingerprint.ok()) {
    serving->fingerprint_ = *fingerprint;
  } else if (fingerprint.status().code() != StatusCode::kFailedPrecondition) {
    return fingerprint.status();
  }  // else logits of its prompt are no numbers: each request says so of its own

  const int64_t pages =
      std::clamp<int64_t>(kv_bytes / page_bytes, least, std::numeric_limits<int32_t>::max());
  engine::ModelRunnerOptions runner_options;
  runner_options.kv_dtype = impl.kv_dtype;
  runner_options.page_size = impl.options.page_size;
  runner_options.num_pages = static_cast<int32_t>(pages);
  runner_options.max_step_tokens = impl.options.max_step_tokens;
  runner_options.max_step_rows = impl.MakeModelOptions().max_step_rows;
  runner_options.preallocate = options.preallocate;
  runner_options.scrub = options.scrub_kv;
  RILL_ASSIGN_OR_RETURN(serving->runner_,
                        engine::ModelRunner::Create(*impl.model, *impl.backend, runner_options));
  engine::EngineOptions engine_options;
  engine_options.eos_ids.assign(impl.tokenizer->stop_ids().begin(),
                                impl.tokenizer->stop_ids().end());
  // What the text service takes the engine does not refuse: one limit, told at once.
  engine_options.max_waiting = std::max(options.max_waiting, options.text.max_requests);
  engine_options.itl_target_ms = options.itl_target_ms;
  engine_options.predict_lengths = options.predict_lengths;
  engine_options.step_hint = {std::min(Llm::kFingerprintTokens, impl.info.max_context),
                              took.count()};
  std::random_device random;
  engine_options.seed = options.seed.value_or(uint64_t{random()} << 32 | random());
  engine_options.max_choices =
      std::clamp(impl.options.max_sequences, 1,
                 std::min(runner_options.max_step_tokens, runner_options.max_step_rows));
  RILL_ASSIGN_OR_RETURN(auto engine, engine::Engine::Create(engine_options, *serving->runner_));
  serving->loop_ = std::make_unique<engine::EngineLoop>(std::move(engine));
  serving->text_ = std::make_unique<TextService>(
      impl.tokenizer, impl.chat_templates, impl.info.max_context, *serving->loop_, options.text);
  serving->tokenizer_ = impl.tokenizer;
  serving->tokenizer_kind_ = std::string(impl.tokenizer->kind());
  if (impl.chat_templates) {
    serving->template_source_ = impl.chat_templates->source();
    serving->all_template_sources_ = impl.chat_templates->all_sources();
  }
  serving->kv_bytes_ = serving->runner_->kv_bytes();
  serving->kv_token_bytes_ = page_bytes / layout.page_size;
  serving->page_size_ = layout.page_size;
  serving->max_choices_ = engine_options.max_choices;
  return serving;
}

ServingModel::~ServingModel() = default;

}  // namespace rill::llm
