#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/check_tensors.h"
#include "model/builder.h"
#include "model/decoder.h"
#include "model/family.h"
#include "model/lanes.h"
#include "model/weights.h"

namespace rill::model {
namespace {

int32_t KvHeads(const DecoderSpec& spec) {
  return spec.mla.kv_lora_rank > 0 ? spec.num_heads : spec.num_kv_heads;
}

KvLayout LayoutOf(const DecoderSpec& spec, quant::KvFormat format, int32_t page_size) {
  KvLayout layout;
  layout.format = format;
  layout.num_layers = spec.num_layers;
  layout.num_kv_heads = KvHeads(spec);
  layout.k_dim = spec.k_dim;
  layout.v_dim = spec.v_dim;
  layout.page_size = page_size;
  return layout;
}

ModelConfig ConfigOf(const DecoderSpec& spec, int64_t num_parameters) {
  ModelConfig c;
  c.family = spec.family;
  c.name = spec.name;
  c.num_layers = spec.num_layers;
  c.hidden_size = spec.hidden_size;
  c.intermediate_size = spec.intermediate_size;
  c.num_heads = spec.num_heads;
  c.num_kv_heads = KvHeads(spec);
  c.k_dim = spec.k_dim;
  c.v_dim = spec.v_dim;
  c.vocab_size = spec.vocab_size;
  c.max_context = spec.max_context;
  c.trained_context = spec.trained_context;
  c.is_encoder = spec.is_encoder;
  c.num_parameters = num_parameters;
  return c;
}

Status CheckOptions(const ModelOptions& options) {
  constexpr int32_t kMaxRows = 1 << 20;
  if (options.max_step_tokens < 1 || options.max_step_tokens > kMaxRows) {
    return InvalidArgument(fmt::format("max_step_tokens: expected [1, {}], got {}", kMaxRows,
                                       options.max_step_tokens));
  }
  if (options.max_step_rows < 0 || options.max_step_rows > options.max_step_tokens) {
    return InvalidArgument(fmt::format("max_step_rows: expected [0, {}], got {}",
                                       options.max_step_tokens, options.max_step_rows));
  }
  return OkStatus();
}

// An encoder's tokens attend to those behind them, and experts are the better used the more tokens
// meet them.
bool HasLanes(const DecoderSpec& spec) {
  const auto has_experts = [](const LayerSpec& layer) { return layer.moe; };
  return !spec.is_encoder && std::none_of(spec.layers.begin(), spec.layers.end(), has_experts);
}

int32_t StepRows(const ModelOptions& options) {
  return options.max_step_rows > 0 ? options.max_step_rows : options.max_step_tokens;
}

// Everything besides the bytes of the tensors' files that packed weights depend on. Raise the
// number when the code between a file and Backend::PackWeight changes what it gives: encoders of
// weight modes, readers of quantised checkpoints, how parts are put together.
std::string PackKey(const io::ModelSource& source, const QuantConfig& quant, WeightMode mode,
                    const std::string& layout) {
  constexpr int kVersion = 3;
  const std::string config = source.config.Dump();
  return fmt::format("{} {} | weights {} | config {:016x} | quant {} {} {} {} {} {} [{}]", kVersion,
                     layout, static_cast<int>(mode),
                     io::HashBytes(std::as_bytes(std::span(config))),
                     static_cast<int>(quant.method), quant.bits, quant.group_size,
                     quant.zeros_minus_one, static_cast<int>(quant.int3_zeros), quant.from_shapes,
                     fmt::join(quant.rule_group_sizes, ","));
}

class LoadedModel final : public Model {
 public:
  LoadedModel(io::TensorDirectory tensors, Description description, const std::string& culprit)
      : tensors_(std::move(tensors)),
        description_(std::move(description)),
        weights_(tensors_, culprit, description_.spec, description_.names, description_.quant) {}

  Status Init(const io::ModelSource& source, ops::Backend& backend, const ModelOptions& options) {
    const std::string& culprit = source.path;
    RILL_RETURN_IF_ERROR(weights_.Resolve());
    if (options.check_tensors) {
      const io::TensorReport report = io::CheckTensors(tensors_);
      if (!report.defects.empty()) return InvalidArgument(culprit + ": " + report.Summary());
    }
    config_ = ConfigOf(spec(), weights_.sizes().num_parameters);
    RILL_RETURN_IF_ERROR(PackWeights(source, backend, options));
    const KvLayout layout = MakeKvLayout(quant::KvFormat::kF32, 16);
    const auto record = [&](int32_t max_tokens, int32_t max_rows) {
      Builder builder(backend, max_tokens, max_rows);
      builder.SetKvLayout(layout);
      RecordDecoder(builder, spec(), weights_.weights());
      return builder.Finish();
    };
    RILL_ASSIGN_OR_RETURN(program_, record(options.max_step_tokens, StepRows(options)));
    if (HasLanes(spec())) {
      RILL_ASSIGN_OR_RETURN(
          lanes_, Lanes::Create(*program_, backend, layout, spec().hidden_size,
                                options.activations == ops::ActivationMode::kF32, record));
    }
    return OkStatus();
  }

  const ModelConfig& config() const override { return config_; }
  const Program& program() const override { return *program_; }
  Program& mutable_program() override { return *program_; }
  const DecoderSpec& spec() const override { return description_.spec; }
  KvLayout MakeKvLayout(quant::KvFormat format, int32_t page_size) const override {
    return LayoutOf(spec(), format, page_size);
  }
  MemoryUse memory() const override {
    return {weights_.packed_bytes(), weights_.mapped_bytes(),
            program_->arena_bytes() + (lanes_ ? lanes_->arena_bytes() : 0)};
  }

  const MatrixUse& matrix_use() const override { return weights_.matrix_use(); }
  const std::vector<std::string>& damaged_tensors() const override {
    return weights_.damaged_tensors();
  }
  const PackCacheReport& pack_cache() const override { return pack_cache_; }

  Status Forward(const StepInput& input, MutableTensorView logits) override {
    RILL_RETURN_IF_ERROR(CheckStep(input, logits));
    ProgramInput step;
    step.token_ids = input.token_ids;
    step.positions = input.positions;
    step.token_types = input.token_types;
    step.logit_rows = input.logit_rows;
    step.wanted = input.wanted;
    step.best = input.best;
    step.kv = input.kv;
    step.logits = logits;
    Status status;
    if (lanes_ && !program_->has_hook() && lanes_->Run(step, status)) return status;
    return program_->Run(step);
  }

 private:
  Status PackWeights(const io::ModelSource& source, ops::Backend& backend,
                     const ModelOptions& options) {
    std::unique_ptr<PackCache> cache;
    if (!options.pack_cache.empty() && backend.PackedLayout().empty()) {
      pack_cache_.warnings.push_back("pack cache: not used: the " + std::string(backend.name()) +
                                     " backend packs nothing");
    } else if (!options.pack_cache.empty()) {
      cache = std::make_unique<PackCache>(
          options.pack_cache, tensors_,
          PackKey(source, description_.quant, options.weights, backend.PackedLayout()));
      cache->Open();
    }
    RILL_RETURN_IF_ERROR(weights_.Pack(backend, options.activations, options.weights,
                                       options.on_pack, cache.get(), options.release_source));
    if (cache != nullptr) {
      cache->Finish();
      pack_cache_ = cache->report();
    }
    weights_.ReleaseSource(options.release_source);
    return OkStatus();
  }

  Status CheckStep(const StepInput& input, const MutableTensorView& logits) const {
    const size_t num_tokens = input.token_ids.size();
    const size_t num_rows = input.logit_rows.size();
    auto fail = [](std::string what) { return InvalidArgument("forward: " + std::move(what)); };
    if (num_tokens > static_cast<size_t>(program_->max_tokens()) ||
        num_rows > static_cast<size_t>(program_->max_rows())) {
      return fail(fmt::format("a step has at most {} tokens and {} rows of logits, got {} and {}",
                              program_->max_tokens(), program_->max_rows(), num_tokens, num_rows));
    }
    if (input.positions.size() != num_tokens ||
        (!input.token_types.empty() && input.token_types.size() != num_tokens)) {
      return fail(fmt::format("{} token ids, but {} positions and {} token types", num_tokens,
                              input.positions.size(), input.token_types.size()));
    }
    if ((!input.wanted.empty() && input.wanted.size() != num_rows) ||
        (!input.best.empty() && input.best.size() != num_rows) ||
        input.wanted.size() > input.best.size()) {
      return fail(fmt::format("{} rows of logits, but {} of wanted and {} of best", num_rows,
                              input.wanted.size(), input.best.size()));
    }
    const int64_t width = config_.is_encoder ? config_.hidden_size : config_.vocab_size;
    if (logits.dtype != DType::kF32 || logits.rank() != 2 || logits.dim(1) != width ||
        logits.dim(0) < static_cast<int64_t>(num_rows) || logits.stride(1) != 1) {
      return fail(fmt::format("logits: expected f32 [{}, {}], got {} {}", num_rows, width,
                              DTypeName(logits.dtype), logits.shape.ToString()));
    }
    for (size_t t = 0; t < num_tokens; ++t) {
      if (input.token_ids[t] < 0 || input.token_ids[t] >= config_.vocab_size) {
        return fail(fmt::format("token id {}: expected [0, {}), got {}", t, config_.vocab_size,
                                input.token_ids[t]));
      }
      if (input.positions[t] < 0 || input.positions[t] >= config_.max_context) {
        return fail(fmt::format("position {}: expected [0, {}), got {}", t, config_.max_context,
                                input.positions[t]));
      }
    }
    for (int32_t row : input.logit_rows) {
      if (row < 0 || static_cast<size_t>(row) >= num_tokens) {
        return fail(fmt::format("logit row: expected [0, {}), got {}", num_tokens, row));
      }
    }
    for (int32_t type : input.token_types) {
      if (type < 0 || type >= std::max(spec().num_token_types, 1)) {
        return fail(
            fmt::format("token type: expected [0, {}), got {}", spec().num_token_types, type));
      }
    }
    const KvLayout want = LayoutOf(spec(), input.kv.layout.format, input.kv.layout.page_size);
    const KvLayout& got = input.kv.layout;
    if (got.num_layers != want.num_layers || got.num_kv_heads != want.num_kv_heads ||
        got.k_dim != want.k_dim || got.v_dim != want.v_dim || got.page_size <= 0 ||
        got.page_size % 16 != 0) {
      return fail("the KV layout is not one of MakeKvLayout");
    }
    return OkStatus();
  }

  io::TensorDirectory tensors_;  // keeps the mappings
  Description description_;
  WeightSet weights_;
  ModelConfig config_;
  PackCacheReport pack_cache_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Lanes> lanes_;  // null: steps are not cut
};

}  // namespace

Result<std::unique_ptr<Model>> Model::Load(const io::ModelSource& source, ops::Backend& backend,
                                           const ModelOptions& options) {
  RILL_RETURN_IF_ERROR(CheckOptions(options));
  RILL_ASSIGN_OR_RETURN(Description description, Describe(source, options.max_context));
  auto model = std::make_unique<LoadedModel>(source.tensors, std::move(description), source.path);
  RILL_RETURN_IF_ERROR(model->Init(source, backend, options));
  return std::unique_ptr<Model>(std::move(model));
}

Result<ModelPlan> PlanModel(const io::ModelSource& source, const ModelOptions& options) {
  RILL_RETURN_IF_ERROR(CheckOptions(options));
  RILL_ASSIGN_OR_RETURN(const Description description, Describe(source, options.max_context));
  WeightSet weights(source.tensors, source.path, description.spec, description.names,
                    description.quant);
  RILL_RETURN_IF_ERROR(weights.Resolve());
  const WeightSet::Sizes sizes = weights.sizes();
  ModelPlan plan;
  plan.config = ConfigOf(description.spec, sizes.num_parameters);
  plan.weight_bytes = sizes.file_bytes;
  plan.unused_tensors = weights.UnusedTensors();
  const DecoderSpec& spec = description.spec;
  plan.kv_layout = LayoutOf(spec, quant::KvFormat::kF16, 64);
  weights.PackShapes();
  // Recording needs a backend only to call it later; planning does not call.
  const std::unique_ptr<ops::Backend> backend = ops::MakeReferenceBackend();
  const auto plan_bytes = [&](int32_t max_tokens) {
    Builder builder(*backend, max_tokens, std::min(max_tokens, StepRows(options)));
    RecordDecoder(builder, spec, weights.weights());
    return builder.PlanBytes();
  };
  RILL_ASSIGN_OR_RETURN(plan.activation_bytes, plan_bytes(options.max_step_tokens));
  if (HasLanes(spec) && Lanes::MinTokens(options.lanes, spec.hidden_size, options.max_step_tokens,
                                         options.activations == ops::ActivationMode::kF32) > 0) {
    RILL_ASSIGN_OR_RETURN(const int64_t lane_bytes,
                          plan_bytes(Lanes::Room(options.lanes.count, options.max_step_tokens)));
    plan.activation_bytes += (options.lanes.count - 1) * lane_bytes;
  }
  return plan;
}

}  // namespace rill::model
