#include "rill/llm.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <new>

#include "backends/registry.h"
#include "base/side_thread.h"
#include "base/utf8.h"
#include "io/mapped_file.h"
#include "io/mapping_fault.h"
#include "llm/chat_templates.h"
#include "llm/llm_impl.h"
#include "llm/memory_error.h"
#include "llm/pack_cache_paths.h"
#include "llm/synthetic.h"
#include "llm/text_source.h"
#include "llm/text_stream.h"
#include "llm/weight_warning.h"

namespace rill {
namespace {

using Clock = std::chrono::steady_clock;

// What a tokenizer says that its model cannot follow.
void WarnAboutTokenizer(const text::Tokenizer& tokenizer, ModelInfo& info) {
  if (info.vocab_size > 0 && tokenizer.vocab_size() > info.vocab_size) {
    info.warnings.push_back(
        fmt::format("{}: the tokenizer has {} tokens, the model knows {}: a text with one of the "
                    "others is refused",
                    info.path, tokenizer.vocab_size(), info.vocab_size));
  }
  if (tokenizer.stop_ids().empty() && !info.is_encoder) {
    info.warnings.push_back(info.path +
                            ": no file names a token that ends an answer (eos_token_id): answers "
                            "end at their limit of tokens");
  }
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Contexts above this are allowed when asked for; by default they would promise memory that most
// machines do not have (a 131072-token f16 cache of an 8B model is 17 GB).
constexpr int32_t kDefaultMaxContext = 32768;

int64_t ResidentBytes() {
  long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return int64_t{pages} * sysconf(_SC_PAGESIZE);
}

}  // namespace

void ExitOnMappingFault() {
  io::InstallMappingFaultHandler();
}

Llm::Llm() : impl_(std::make_unique<Impl>()) {}
Llm::~Llm() = default;
const ModelInfo& Llm::info() const {
  return impl_->info;
}

Status Llm::Impl::LoadText() {
  auto loaded = text::LoadTokenizer(source);
  tokenizer_status = loaded.status();
  if (!loaded.ok()) return tokenizer_status;
  tokenizer = std::move(loaded).value();
  auto templates = llm::ChatTemplates::Load(source, *tokenizer);
  template_status =
      templates.ok() ? (*templates)->status().WithPrefix(source.path) : templates.status();
  if (templates.ok()) chat_templates = std::move(templates).value();
  return template_status;
}

static backends::BackendOptions BackendOptionsOf(const LoadOptions& options) {
  backends::BackendOptions out;
  out.num_threads = options.num_threads;
  out.cpu_isa = options.cpu_isa;
  return out;
}

model::ModelOptions Llm::Impl::MakeModelOptions() const {
  model::ModelOptions model_options;
  model_options.on_pack = options.on_progress;
  model_options.activations =
      options.activations == "f32" ? ops::ActivationMode::kF32 : ops::ActivationMode::kQ8;
  model_options.weights = options.weights == "w8a8"     ? model::WeightMode::kW8A8
                          : options.weights == "w4g128" ? model::WeightMode::kW4G128
                                                        : model::WeightMode::kFile;
  model_options.max_context = options.max_context;
  model_options.max_step_tokens = options.max_step_tokens;
  model_options.max_step_rows =
      std::min(options.max_step_tokens, std::max(64, options.max_sequences));
  model_options.check_tensors = options.check_tensors;
  model_options.release_source = release_source;
  model_options.lanes = backends::LanesOf(options.backend, BackendOptionsOf(options));
  if (options.pack_cache) model_options.pack_cache = llm::PackCachePaths(source, options.weights);
  return model_options;
}

void Llm::Impl::SetInfo(const model::ModelConfig& config) {
  info.family = config.family;
  info.name = config.name;
  info.num_layers = config.num_layers;
  info.hidden_size = config.hidden_size;
  info.num_heads = config.num_heads;
  info.num_kv_heads = config.num_kv_heads;
  info.vocab_size = config.vocab_size;
  info.trained_context = config.trained_context;
  info.max_context = config.max_context;
  if (options.max_context == 0) info.max_context = std::min(info.max_context, kDefaultMaxContext);
  info.num_parameters = config.num_parameters;
  info.is_encoder = config.is_encoder;
}

Status Llm::Impl::LoadModel() {
  RILL_ASSIGN_OR_RETURN(backend, backends::MakeBackend(options.backend, BackendOptionsOf(options)));
  RILL_ASSIGN_OR_RETURN(model, model::Model::Load(source, *backend, MakeModelOptions()));
  info.backend = backend->Describe();
  SetInfo(model->config());
  const model::PackCacheReport& cache = model->pack_cache();
  info.pack_cache_read = cache.read_from;
  info.pack_cache_written = cache.written_to;
  info.pack_cache_bytes = cache.file_bytes;
  return OkStatus();
}

Status Llm::Impl::PlanModel() {
  RILL_ASSIGN_OR_RETURN(plan, model::PlanModel(source, MakeModelOptions()));
  SetInfo(plan->config);
  return OkStatus();
}

Status Llm::Impl::EnsureEngine() {
  if (engine) return OkStatus();
  if (!model) return FailedPrecondition(info.path + ": opened without its weights");
  if (info.is_encoder) {
    return Unsupported(info.path + ": family " + info.family +
                       " is an encoder, it generates nothing");
  }
  engine::ModelRunnerOptions runner_options;
  runner_options.kv_dtype = kv_dtype;
  runner_options.page_size = options.page_size;
  runner_options.num_pages =
      static_cast<int32_t>(engine::PagesForContexts(1, info.max_context, options.page_size));
  runner_options.max_step_tokens = options.max_step_tokens;
  runner_options.max_step_rows =
      std::min(options.max_step_tokens, std::max(64, options.max_sequences));
  RILL_ASSIGN_OR_RETURN(runner, engine::ModelRunner::Create(*model, *backend, runner_options));
  engine::EngineOptions engine_options;
  if (tokenizer) {
    engine_options.eos_ids.assign(tokenizer->stop_ids().begin(), tokenizer->stop_ids().end());
  }
  RILL_ASSIGN_OR_RETURN(engine, engine::Engine::Create(engine_options, *runner));
  return OkStatus();
}

Result<std::unique_ptr<llm::Evaluator>> Llm::Impl::MakeEvaluator(int32_t max_tokens) {
  if (!model) return FailedPrecondition(info.path + ": opened without its weights");
  if (max_tokens > model->config().max_context) {
    return ResourceExhausted(fmt::format("{} tokens, but the model holds {} positions", max_tokens,
                                         model->config().max_context));
  }
  return llm::Evaluator::Create(*model, *backend, kv_dtype, options.page_size,
                                options.max_step_tokens, max_tokens);
}

Result<std::unique_ptr<Llm>> Llm::Open(const std::string& path, const LoadOptions& options) {
  return OpenOrNoMemory(path, nullptr, options);
}

Result<std::unique_ptr<Llm>> Llm::OpenSource(const io::ModelSource& source,
                                             const LoadOptions& options) {
  return OpenOrNoMemory(source.path, &source, options);
}

Result<std::unique_ptr<Llm>> Llm::OpenOrNoMemory(const std::string& path,
                                                 const io::ModelSource* source,
                                                 const LoadOptions& options) {
  try {
    return OpenFrom(path, source, options);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(path + ": not enough memory to load it");
  }
}

Result<std::unique_ptr<Llm>> Llm::OpenFrom(const std::string& path, const io::ModelSource* source,
                                           const LoadOptions& options) {
  auto start = Clock::now();
  std::unique_ptr<Llm> llm(new Llm());
  Impl& impl = *llm->impl_;
  impl.options = options;
  impl.info.path = path;
  const auto kv_dtype = quant::KvFormatFromName(options.kv_dtype);
  if (!kv_dtype) {
    return InvalidArgument("kv_dtype: expected " + quant::KvFormatNames() + ", got '" +
                           options.kv_dtype + "'");
  }
  impl.kv_dtype = *kv_dtype;
  if (options.activations != "q8" && options.activations != "f32") {
    return InvalidArgument("activations: expected q8 or f32, got '" + options.activations + "'");
  }
  if (options.weights != "file" && options.weights != "w8a8" && options.weights != "w4g128") {
    return InvalidArgument("weights: expected file, w8a8 or w4g128, got '" + options.weights + "'");
  }
  if (options.page_size < 16 || options.page_size % 16 != 0) {
    return InvalidArgument(
        fmt::format("page_size: expected a multiple of 16, got {}", options.page_size));
  }
  io::OpenOptions open_options;
  open_options.use_mmap = options.use_mmap;
  const bool synthetic = source == nullptr && path.starts_with(llm::kSyntheticPrefix);
  if (source != nullptr) {
    impl.source = *source;
    impl.options.pack_cache = false;  // what its path names is not what is loaded
  } else if (synthetic) {
    // A plan that made gigabytes of weights would keep a server's signals waiting meanwhile.
    const auto weights = options.plan_only || options.text_only ? llm::SyntheticWeights::kNone
                                                                : llm::SyntheticWeights::kRandom;
    RILL_ASSIGN_OR_RETURN(impl.source, llm::MakeSynthetic(path, weights));
    start = Clock::now();  // making the weights is not loading them
  } else {
    auto opened = io::OpenModel(path, open_options);
    const StatusCode code = opened.status().code();
    if (options.text_only && (code == StatusCode::kNotFound || code == StatusCode::kUnsupported)) {
      // Text needs no weights. What was wrong with the model is said where there is no text either.
      if (auto folder = llm::OpenTextFolder(path); folder.ok()) opened = std::move(folder);
    }
    if (!opened.ok()) return opened.status();
    impl.source = std::move(opened).value();
    impl.release_source = !options.use_mmap && !options.text_only && !options.plan_only;
  }
  impl.info.format = impl.source.format == io::ModelFormat::kGguf ? "gguf" : "huggingface";

  // The vocabulary is read while the weights are packed: they share nothing but the mapping.
  // So is whether its numbers are numbers.
  io::TensorReport sampled;
  const auto sample_weights = [&impl, &sampled, &options] {
    if (options.text_only || options.plan_only || options.check_tensors) return;
    sampled = io::SampleTensors(impl.source.tensors);
  };
  // What is released as it is packed is looked at before.
  if (impl.release_source) sample_weights();
  SideThread text_thread([&impl, &sample_weights] {
    (void)impl.LoadText();
    if (!impl.release_source) sample_weights();
  });
  Status status;
  if (options.plan_only) {
    status = impl.PlanModel();
  } else if (!options.text_only) {
    status = impl.LoadModel();
  }
  text_thread.Join();
  if (!status.ok()) return status;
  // The weights are packed: what is still read in place (an embedding table) is mapped again.
  for (const auto& file : impl.source.tensors.files()) file->DropResidentPages();
  const std::span<const std::string> damaged =
      impl.model ? std::span(impl.model->damaged_tensors()) : std::span<const std::string>();
  if (auto warning = llm::NonFiniteWarning(impl.info.path, sampled, damaged)) {
    impl.info.warnings.push_back(std::move(*warning));
  }
  if (impl.model && impl.options.pack_cache) {
    if (impl.MakeModelOptions().pack_cache.empty()) {
      impl.info.warnings.push_back("pack cache: not used: " + impl.info.path +
                                   " is not read from a file");
    }
    for (const std::string& text : impl.model->pack_cache().warnings) {
      impl.info.warnings.push_back(text);
    }
  }
  if (impl.backend) {
    for (std::string& text : impl.backend->Warnings()) {
      impl.info.warnings.push_back(std::move(text));
    }
  }
  if (synthetic && impl.model) {
    // At most the embedding table is read in place.
    const io::TensorEntry* table = impl.source.tensors.Find("token_embd.weight");
    if (impl.model->memory().mapped_bytes <= table->view.SizeBytes()) {
      llm::ReleaseSyntheticWeights(impl.source);
    }
  }
  if (options.text_only && !impl.tokenizer) return impl.tokenizer_status;
  if (impl.tokenizer && impl.model) WarnAboutTokenizer(*impl.tokenizer, impl.info);
  impl.info.has_tokenizer = impl.tokenizer != nullptr;
  impl.info.has_chat_template = impl.chat_templates != nullptr;
  if (!impl.template_status.ok() && impl.template_status.code() != StatusCode::kNotFound) {
    impl.info.chat_template_error = impl.template_status.message();
  }
  if (impl.tokenizer && impl.info.vocab_size == 0)
    impl.info.vocab_size = impl.tokenizer->vocab_size();
  impl.info.load_s = SecondsSince(start);
  impl.options.on_progress = nullptr;  // the caller's, for this call
  return llm;
}

Result<Ceilings> MeasureCeilings(const LoadOptions& load, const CeilingOptions& options) {
  RILL_ASSIGN_OR_RETURN(const std::unique_ptr<ops::Backend> backend,
                        backends::MakeBackend(load.backend, {.num_threads = load.num_threads,
                                                             .cpu_isa = load.cpu_isa}));
  return backend->MeasureCeilings(options);
}

Result<Ceilings> Llm::MeasureCeilings(const CeilingOptions& options) {
  if (!impl_->backend) return FailedPrecondition(impl_->info.path + ": opened without its weights");
  return impl_->backend->MeasureCeilings(options);
}

Result<std::vector<int32_t>> Llm::Tokenize(std::string_view text, bool add_special,
                                           bool parse_special) const {
  if (!impl_->tokenizer) return impl_->tokenizer_status;
  return impl_->tokenizer->Encode(text,
                                  {.add_special = add_special, .parse_special = parse_special});
}

Result<std::string> Llm::Detokenize(std::span<const int32_t> token_ids, bool skip_special) const {
  if (!impl_->tokenizer) return impl_->tokenizer_status;
  for (int32_t id : token_ids) {
    if (id < 0 || id >= impl_->tokenizer->vocab_size()) {
      return InvalidArgument(
          fmt::format("token id {}: expected one in [0, {})", id, impl_->tokenizer->vocab_size()));
    }
  }
  return impl_->tokenizer->Decode(token_ids, {.skip_special = skip_special});
}

std::string Llm::TokenText(int32_t token_id) const {
  return impl_->tokenizer ? impl_->tokenizer->TokenText(token_id) : std::string();
}

Result<RenderedPrompt> Llm::RenderChat(const ChatInput& input) const {
  if (!impl_->tokenizer) return impl_->tokenizer_status;
  if (!impl_->chat_templates) return impl_->template_status;
  Result<text::MarkedText> marked = impl_->chat_templates->Render(input);
  if (!marked.ok()) return marked.status().WithPrefix(impl_->source.path);
  RenderedPrompt prompt;
  // The template writes BOS itself where it wants one.
  prompt.token_ids = impl_->tokenizer->Encode(*marked, /*add_special=*/false);
  prompt.text = std::move(marked->text);
  return prompt;
}

Result<GenerateResult> Llm::Generate(std::span<const int32_t> prompt_ids,
                                     const GenerateOptions& options, const OnText& on_text,
                                     const std::atomic<bool>* cancel) {
  RILL_RETURN_IF_ERROR(impl_->EnsureEngine());
  const auto prompt_size = static_cast<int32_t>(prompt_ids.size());
  GenerateRequest request;
  request.prompt_ids.assign(prompt_ids.begin(), prompt_ids.end());
  request.sampling = options.sampling;
  const int32_t room = impl_->info.max_context - prompt_size;
  if (room < 1) {
    return ResourceExhausted(
        fmt::format("the prompt has {} tokens, and the context holds {} positions (see --context)",
                    prompt_size, impl_->info.max_context));
  }
  int32_t& max_tokens = request.sampling.max_tokens;
  max_tokens = max_tokens == 0 ? room : std::min(max_tokens, room);
  request.sampling.min_tokens = std::min(request.sampling.min_tokens, max_tokens);

  GenerateResult result;
  std::unique_ptr<llm::TextStream> stream;
  if (impl_->tokenizer) {
    stream = std::make_unique<llm::TextStream>(
        impl_->tokenizer, std::make_shared<const text::StopStrings>(options.stop),
        options.show_special);
    if (options.continues_prompt) {
      // The last ids are enough: what a token's text depends on reaches back one character.
      for (int32_t id : prompt_ids.last(std::min<size_t>(prompt_ids.size(), 8))) stream->Skip(id);
    }
  } else if (!options.stop.empty()) {
    return impl_->tokenizer_status;
  }
  auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    result.text += piece;
    if (on_text) on_text(piece);
  };

  const auto start = Clock::now();
  Clock::time_point first_token = start, last_token = start;
  FinishReason finish = FinishReason::kNone;
  Status error;
  bool want_cancel = false;
  bool is_final = false;
  auto on_event = [&](const TokenEvent& event) {
    if (event.token_id >= 0 && !want_cancel) {
      last_token = Clock::now();
      if (result.output_ids.empty()) first_token = last_token;
      result.output_ids.push_back(event.token_id);
      const bool is_end = event.finish_reason == FinishReason::kStop;
      if (stream && (!is_end || options.show_special)) emit(stream->Push(event.token_id));
      if (stream && stream->stopped()) want_cancel = true;
    }
    if (event.finish_reason != FinishReason::kNone) {
      finish = event.finish_reason;
      error = event.error;
    }
    is_final = is_final || event.is_final;
  };
  const int64_t computed_before = impl_->engine->stats().prompt_tokens;
  const auto submitted = impl_->engine->Submit(std::move(request), on_event);
  if (!submitted.ok()) return llm::MemoryError(submitted.status());
  const RequestId id = *submitted;
  while (!is_final) {
    if (want_cancel || (cancel && cancel->load(std::memory_order_relaxed))) {
      (void)impl_->engine->Cancel(id);
      if (is_final) break;
    }
    (void)impl_->engine->Step();  // a failed step ends the request with its error event
    if (options.on_prompt && result.output_ids.empty() && !is_final) {
      const EngineStats stats = impl_->engine->stats();
      options.on_prompt(std::min<int64_t>(stats.prompt_tokens - computed_before, prompt_size),
                        prompt_size);
    }
  }
  if (finish == FinishReason::kError) return llm::MemoryError(error);
  if (stream && !stream->stopped()) emit(stream->Finish());

  const bool stopped_by_text = stream && stream->stopped();
  if (stopped_by_text) result.stop_string = stream->stop_string();
  result.finish_reason = stopped_by_text ? "stop" : std::string(FinishReasonName(finish));
  GenerateStats& stats = result.stats;
  stats.prompt_tokens = prompt_size;
  stats.output_tokens = static_cast<int64_t>(result.output_ids.size());
  auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  if (stats.output_tokens > 0) {
    stats.first_token_s = seconds(first_token - start);
    stats.prefill_s = stats.first_token_s;
    stats.decode_s = seconds(last_token - first_token);
    stats.prompt_tokens_per_s = prompt_size / std::max(stats.prefill_s, 1e-9);
    if (stats.output_tokens > 1) {
      stats.decode_tokens_per_s =
          static_cast<double>(stats.output_tokens - 1) / std::max(stats.decode_s, 1e-9);
    }
  }
  stats.resident_bytes = ResidentBytes();
  return result;
}

}  // namespace rill
