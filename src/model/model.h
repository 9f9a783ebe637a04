// Model: a loaded network. Token ids and pages in, logits out; knows nothing of requests.
//
// Load turns config and tensors into a DecoderSpec (arch/<family>.cc), checks every tensor's shape,
// packs the weights and records the forward once into a Program; Forward replays it.
//
// Owner thread: the compute thread calls Forward. Everything else is immutable after Load.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/model_source.h"
#include "model/pack_cache.h"
#include "model/weight_mode.h"
#include "ops/backend.h"
#include "quant/paged_kv_view.h"
#include "rill/status.h"

namespace rill::model {

struct ModelOptions {
  ops::ActivationMode activations = ops::ActivationMode::kQ8;
  WeightMode weights = WeightMode::kFile;
  int32_t max_context = 0;        // positions; 0: what the model was trained for
  int32_t max_step_tokens = 512;  // rows of the largest step: sizes the activation buffers
  int32_t max_step_rows = 0;      // rows of logits in one step; 0: max_step_tokens
  bool check_tensors = false;     // refuse NaN and Inf weights
  ops::LaneLimits lanes = {};     // of the backend, for PlanModel: Load asks it
  // Nobody reads the source's tensors afterwards: those that were read into memory, not mapped, are
  // given back as they are packed, and are zeros then. So the weights are there once, not twice.
  bool release_source = false;
  // Where packed weights may be kept from one load to the next (pack_cache.h), best first; empty:
  // nowhere.
  std::vector<std::string> pack_cache = {};
  // May be null. Bytes of the file's matrices that are packed, of all; from the loading thread.
  std::function<void(int64_t done, int64_t total)> on_pack = nullptr;
};

// What a caller needs to know about a loaded network (Hugging Face words).
struct ModelConfig {
  std::string family;  // "llama", "qwen2", …: the arch file that read it
  std::string name;    // general.name or the folder's name; may be empty
  int32_t num_layers = 0, hidden_size = 0, intermediate_size = 0;
  int32_t num_heads = 0, num_kv_heads = 0, k_dim = 0, v_dim = 0;  // k_dim, v_dim: per head
  int32_t vocab_size = 0;
  int32_t max_context = 0;      // positions this load allows
  int32_t trained_context = 0;  // what the model was trained for
  bool is_encoder = false;      // BERT: Forward gives hidden states [num_rows, hidden_size]
  int64_t num_parameters = 0;
};

// One step, packed and unpadded: sequences one after another, decodes first.
struct StepInput {
  std::span<const int32_t> token_ids;    // [num_tokens], each in [0, vocab_size)
  std::span<const int32_t> positions;    // [num_tokens]
  PagedKvView kv;                        // pages for all positions of the step are assigned
  std::span<const int32_t> logit_rows;   // [num_rows] rows of the step whose logits are wanted
  std::span<const int32_t> token_types;  // [num_tokens], encoders only; empty: all 0
  // [num_rows] 0: of this row of logits the largest is enough. Empty: every row is written.
  std::span<const int32_t> wanted;
  // [num_rows] The largest logit of such rows, or the first that is not finite (ops/logits.h);
  // token_id -1: the row was written, as it always may be. Empty: no row is enough with `best`.
  std::span<ops::BestLogit> best;
};

// What a load would take, from configuration and tensor directory alone. Activations: at most; a
// backend may fuse more, or have no lanes for weights that it multiplies as f32.
struct ModelPlan {
  ModelConfig config;
  int64_t weight_bytes = 0;      // of the tensors in use, as they lie in the file
  int64_t activation_bytes = 0;  // for options.max_step_tokens
  KvLayout kv_layout;            // of f16 pages of 64 positions: set what a load would ask for
  std::vector<std::string> unused_tensors;
};

class Program;
struct DecoderSpec;
struct MatrixUse;

class Model {
 public:
  // `source` mappings are shared and kept alive; `backend` must outlive the model.
  // Errors: kUnsupported for an unknown architecture (with the nearest supported names) or a
  // missing kernel; kInvalidArgument for a missing or misshapen tensor or config value, naming it.
  static Result<std::unique_ptr<Model>> Load(const io::ModelSource& source, ops::Backend& backend,
                                             const ModelOptions& options);
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const Program& program() const = 0;
  virtual Program& mutable_program() = 0;  // to set a hook (program.h)
  virtual const DecoderSpec& spec() const = 0;
  // Page layout for a KV format and a page size (multiple of 16 positions).
  virtual KvLayout MakeKvLayout(quant::KvFormat format, int32_t page_size) const = 0;
  // Bytes: packed weights, mapped file bytes that stay in use, activation buffers.
  struct MemoryUse {
    int64_t packed_bytes = 0, mapped_bytes = 0, activation_bytes = 0;
  };
  virtual MemoryUse memory() const = 0;
  virtual const MatrixUse& matrix_use() const = 0;  // weights.h
  // Tensors of the file in which the load saw a NaN or an Inf (weights.h).
  virtual const std::vector<std::string>& damaged_tensors() const = 0;
  // What became of options.pack_cache.
  virtual const PackCacheReport& pack_cache() const = 0;

  // Runs one step; writes logits [num_rows, vocab_size] f32 (hidden states for an encoder).
  // Errors: kInvalidArgument when sizes exceed the options; kInternal/kDataLoss from the device.
  virtual Status Forward(const StepInput& input, MutableTensorView logits) = 0;
};

// Reads and checks everything that Load would, and packs nothing. The same errors as Load, but for
// missing kernels.
Result<ModelPlan> PlanModel(const io::ModelSource& source, const ModelOptions& options);

}  // namespace rill::model
