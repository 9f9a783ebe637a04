#include "server/model_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>

#include "base/available_memory.h"
#include "base/size_text.h"
#include "base/utf8.h"
#include "server/http/target.h"
#include "server/openai/chat_request.h"

namespace rill::server {
namespace {

int64_t MinimumMemory(const llm::ServingPlan& plan) {
  return plan.weight_bytes + plan.activation_bytes + plan.kv_token_bytes * plan.max_context;
}

ModelMemory MemoryOf(const ServedModel& model) {
  const llm::ServingModel& llm = *model.llm;
  return {.name = model.id,
          .path = model.path,
          .max_context = llm.info().max_context,
          .weight_bytes = llm.weight_bytes(),
          .activation_bytes = llm.activation_bytes(),
          .kv_bytes = llm.kv_bytes(),
          .kv_token_bytes = llm.kv_token_bytes()};
}

}  // namespace

std::string ModelNameOf(std::string_view wanted) {
  while (wanted.size() > 1 && wanted.ends_with('/')) wanted.remove_suffix(1);
  if (wanted.starts_with("hf:")) return std::string(wanted.substr(3));
  const size_t slash = wanted.rfind('/');
  std::string_view name = slash == std::string_view::npos ? wanted : wanted.substr(slash + 1);
  for (const std::string_view suffix : {".gguf", ".safetensors"}) {
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  }
  return std::string(name.empty() ? wanted : name);
}

openai::ParseLimits ConfiguredLimits(const ServerOptions& options) {
  openai::ParseLimits limits;
  limits.max_messages = static_cast<int32_t>(options.limits.max_messages);
  limits.max_prompts = static_cast<int32_t>(options.limits.max_prompts);
  limits.max_stop_strings = static_cast<int32_t>(options.limits.max_stop_strings);
  limits.json_nodes = options.limits.json_nodes;
  limits.max_logit_bias = static_cast<int32_t>(options.limits.max_logit_bias);
  return limits;
}

Status CheckModelNames(const std::vector<ModelSpec>& specs) {
  std::vector<std::string> names;
  for (const ModelSpec& spec : specs) {
    names.push_back(spec.name);
    names.insert(names.end(), spec.aliases.begin(), spec.aliases.end());
  }
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 256) {
      return InvalidArgument("a model's name has 1 to 256 bytes");
    }
    std::string path = "/";
    for (const unsigned char byte : name) path += fmt::format("%{:02x}", byte);
    if (!ParseTargetPath(path).ok()) {
      return InvalidArgument(fmt::format("no path can hold the model's name '{}'; choose another",
                                         PrintableUtf8(name)));
    }
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return OkStatus();
  return InvalidArgument(specs.size() > 1 ? fmt::format("two models are called '{}'", *twice)
                                          : fmt::format("'{}' is given twice", *twice));
}

int64_t ModelRegistry::budget_bytes() const {
  if (options_.memory_bytes > 0) return options_.memory_bytes;
  static const int64_t at_start = AvailableMemory() / 10 * 9;
  return at_start;
}

Result<std::vector<ModelMemory>> ModelRegistry::PlanMemory(
    const std::vector<ModelSpec>& specs) const {
  std::vector<ModelMemory> out;
  int64_t least = 0;
  for (const ModelSpec& spec : specs) {
    RILL_ASSIGN_OR_RETURN(const llm::ServingPlan plan,
                          llm::ServingModel::Plan(spec.path, options_.load));
    out.push_back({.name = spec.name,
                   .path = spec.path,
                   .max_context = plan.max_context,
                   .weight_bytes = plan.weight_bytes,
                   .activation_bytes = plan.activation_bytes,
                   .kv_bytes = 0,
                   .kv_token_bytes = plan.kv_token_bytes});
    least += MinimumMemory(plan);
  }
  const int64_t budget = budget_bytes();
  if (least > budget) {
    std::string parts;
    for (const ModelMemory& model : out) {
      parts += fmt::format(
          "; {}: weights {}, activations {}, one context of {} "
          "positions {}",
          model.name, SizeText(model.weight_bytes), SizeText(model.activation_bytes),
          model.max_context, SizeText(model.kv_token_bytes * model.max_context));
    }
    return ResourceExhausted(
        fmt::format("the models need at least {}, the memory budget is {} (--memory; "
                    "a smaller --context takes less){}",
                    SizeText(least), SizeText(budget), parts));
  }
  int64_t left = budget;
  for (const ModelMemory& model : out) left -= model.weight_bytes + model.activation_bytes;
  // Those that can use less than an equal part leave the rest to the others.
  std::vector<ModelMemory*> order;
  for (ModelMemory& model : out) order.push_back(&model);
  // Half of what is left, unless told: page caches of the files and other programs live here too.
  if (options_.kv_bytes == 0) left /= 2;
  auto most = [&](const ModelMemory& model) {
    const int64_t per_context = model.kv_token_bytes * model.max_context;
    return std::max(per_context, options_.kv_bytes > 0 ? options_.kv_bytes
                                                       : per_context * options_.load.max_sequences);
  };
  std::sort(order.begin(), order.end(),
            [&](const ModelMemory* a, const ModelMemory* b) { return most(*a) < most(*b); });
  int64_t remaining = left;
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t part = remaining / static_cast<int64_t>(order.size() - i);
    const int64_t least_kv = order[i]->kv_token_bytes * order[i]->max_context;
    order[i]->kv_bytes = std::max(least_kv, std::min(part, most(*order[i])));
    remaining -= order[i]->kv_bytes;
  }
  return out;
}

Status ModelRegistry::Load(const ModelSpec& spec, int64_t kv_bytes, int64_t reserved_bytes) {
  const std::lock_guard loading(load_mutex_);
  int64_t room = budget_bytes() - reserved_bytes;
  std::vector<std::string> names = spec.aliases;
  names.push_back(spec.name);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& model : models_) {
      room -= MemoryOf(*model).total_bytes();
      for (const std::string& name : names) {
        if (model->Answers(name)) {
          return InvalidArgument(fmt::format("the name '{}' is in use by {}", name, model->path));
        }
      }
    }
  }
  auto model = std::make_shared<ServedModel>();
  model->id = spec.name;
  model->aliases = spec.aliases;
  model->path = spec.path;
  llm::ServingOptions serving;
  serving.load = options_.load;
  serving.kv_bytes = kv_bytes;
  serving.memory_bytes = room;
  serving.preallocate = options_.preallocate;
  serving.scrub_kv = options_.scrub_kv;
  serving.max_waiting = options_.max_waiting;
  serving.itl_target_ms = options_.itl_target_ms;
  serving.predict_lengths = !options_.reserve_worst_case;
  serving.seed = options_.seed;
  serving.text.tokenise_threads = options_.tokenise_threads;
  serving.text.max_requests = options_.max_waiting + options_.load.max_sequences;
  serving.text.max_running = options_.load.max_sequences;
  serving.text.tenant_share = options_.tenant_share;
  RILL_ASSIGN_OR_RETURN(model->llm, llm::ServingModel::Load(spec.path, serving));
  const ModelInfo& info = model->llm->info();
  model->created = static_cast<int64_t>(std::time(nullptr));
  model->fingerprint = fmt::format("fp_{:016x}", model->llm->fingerprint());
  model->limits = ConfiguredLimits(options_);
  model->limits.vocab_size = info.vocab_size;
  model->limits.max_context = info.max_context;
  model->limits.max_choices = std::min(options_.max_choices, model->llm->max_choices());
  model->limits.max_top_logprobs = options_.max_logprobs;
  model->limits.template_variables = openai::TemplateWords(model->llm->all_chat_template_sources());
  const std::lock_guard lock(mutex_);
  models_.push_back(std::move(model));
  return OkStatus();
}

Status ModelRegistry::LoadWithinBudget(const ModelSpec& spec) {
  RILL_ASSIGN_OR_RETURN(const llm::ServingPlan plan,
                        llm::ServingModel::Plan(spec.path, options_.load));
  int64_t used = 0;
  for (const auto& model : List()) used += MemoryOf(*model).total_bytes();
  const int64_t left = budget_bytes() - used;
  if (MinimumMemory(plan) > left) {
    return ResourceExhausted(
        fmt::format("{}: needs at least {}, the memory budget of {} has {} left", spec.name,
                    SizeText(MinimumMemory(plan)), SizeText(budget_bytes()), SizeText(left)));
  }
  const int64_t per_context = plan.kv_token_bytes * plan.max_context;
  const int64_t room = left - plan.weight_bytes - plan.activation_bytes;
  const int64_t wanted = options_.kv_bytes > 0
                             ? options_.kv_bytes
                             : std::min(per_context * options_.load.max_sequences, room / 2);
  return Load(spec, std::clamp(wanted, per_context, room));
}

void ModelRegistry::WaitUntilUnused(std::shared_ptr<ServedModel> model) {
  // The last holder must be this thread: a model's threads cannot be joined from themselves.
  while (model.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

Status ModelRegistry::Unload(std::string_view name) {
  const std::lock_guard loading(load_mutex_);
  std::shared_ptr<ServedModel> model;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(models_.begin(), models_.end(),
                                    [&](const auto& m) { return m->Answers(name); });
    if (found == models_.end()) return NotFound(fmt::format("no model '{}' is loaded", name));
    model = std::move(*found);
    models_.erase(found);
    unloading_ = model;
  }
  model->llm->Drain();
  WaitUntilUnused(std::move(model));
  return OkStatus();
}

void ModelRegistry::Clear() {
  const std::lock_guard loading(load_mutex_);
  std::vector<std::shared_ptr<ServedModel>> models;
  {
    const std::lock_guard lock(mutex_);
    models.swap(models_);
  }
  for (auto& model : models) {
    model->llm->text().CancelAll();
    WaitUntilUnused(std::move(model));
  }
}

void ModelRegistry::CancelAll() {
  std::vector<std::shared_ptr<ServedModel>> models;
  {
    const std::lock_guard lock(mutex_);
    models = models_;
    if (auto model = unloading_.lock()) models.push_back(std::move(model));
  }
  for (const auto& model : models) model->llm->text().CancelAll();
}

std::shared_ptr<ServedModel> ModelRegistry::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  for (const auto& model : models_) {
    if (model->Answers(name)) return model;
  }
  return options_.any_model_name && !models_.empty() ? models_.front() : nullptr;
}

std::shared_ptr<ServedModel> ModelRegistry::OnlyModel() const {
  const std::lock_guard lock(mutex_);
  return models_.size() == 1 ? models_.front() : nullptr;
}

std::vector<std::shared_ptr<ServedModel>> ModelRegistry::List() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

}  // namespace rill::server
