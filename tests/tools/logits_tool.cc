// Logits of a model for token ids, as a .npy file: the driver of the oracle tests.
//
//   logits_tool MODEL IDS.json OUT.npy [options]
//   IDS.json: [[id, …], …], each sequence by itself, or {"sequences": …, "token_types": …}
//   OUT.npy: f32 [total tokens, vocab_size], sequences one after another
//   --backend reference|cpu   --chunk N (tokens per step; 0: all at once)   --page N
//   --kv f32|f16|bf16|int8|int4   --activations f32|q8   --weights file|w8a8|w4g128
//   --context N   --batch (all sequences in one step)
//   --check (refuse NaN and Inf)   --backends (alone: lists them)
//   --trace PLACE (prints that place's output of the last step)   --program (prints the op list)
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <sstream>

#include "backends/registry.h"
#include "io/model_source.h"
#include "model/model.h"
#include "model/program.h"

namespace rill {
namespace {

struct Options {
  std::string model, ids, out, backend = "reference", kv = "f32", activations = "f32", trace;
  std::string weights = "file";
  int32_t chunk = 0, page = 16, context = 0;
  bool batch = false, program = false, check = false;
};

struct Sequences {
  std::vector<std::vector<int32_t>> ids, types;
};

Result<std::vector<std::vector<int32_t>>> ReadLists(const Json& json) {
  std::vector<std::vector<int32_t>> out;
  if (!json.is_array()) return InvalidArgument("ids: expected an array of arrays");
  for (const Json& row : json.array()) {
    if (!row.is_array()) return InvalidArgument("ids: expected an array of arrays");
    out.emplace_back();
    for (const Json& id : row.array()) {
      if (!id.is_int()) return InvalidArgument("ids: expected integers");
      out.back().push_back(static_cast<int32_t>(id.int_value()));
    }
  }
  return out;
}

Result<Sequences> ReadSequences(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(text.str(), path));
  Sequences out;
  const Json* lists = json.is_object() ? json.Find("sequences") : &json;
  if (lists == nullptr) return InvalidArgument(path + ": sequences: missing");
  RILL_ASSIGN_OR_RETURN(out.ids, ReadLists(*lists));
  if (const Json* types = json.Find("token_types")) {
    RILL_ASSIGN_OR_RETURN(out.types, ReadLists(*types));
  }
  return out;
}

Status WriteNpy(const std::string& path, const std::vector<float>& data, int64_t cols) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(static_cast<int64_t>(data.size()) / cols) + ", " +
                       std::to_string(cols) + "), }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  const auto size = static_cast<uint16_t>(header.size());
  file.put(static_cast<char>(size & 0xFF)).put(static_cast<char>(size >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(data.data()),
             static_cast<std::streamsize>(data.size() * 4));
  return file.good() ? OkStatus() : NotFound(path + ": cannot write");
}

// Pages for a few sequences, handed out in a scrambled order so that nothing can rely on it.
class TestPages {
 public:
  TestPages(const KvLayout& layout, const std::vector<std::vector<int32_t>>& sequences) {
    for (const auto& ids : sequences) {
      max_pages_ = std::max(
          max_pages_, (static_cast<int32_t>(ids.size()) + layout.page_size - 1) / layout.page_size);
    }
    const auto count = static_cast<int32_t>(sequences.size());
    num_pages_ = count * max_pages_ + 1;
    // Stale memory is NaN: reading an unwritten position shows.
    bytes_.assign(static_cast<size_t>(num_pages_) * static_cast<size_t>(layout.page_bytes()) + 64,
                  std::byte{0xFF});
    base_ = bytes_.data() + (64 - reinterpret_cast<uintptr_t>(bytes_.data()) % 64) % 64;
    std::vector<int32_t> order(static_cast<size_t>(count * max_pages_));
    std::iota(order.begin(), order.end(), 1);
    uint64_t state = 12345;
    for (size_t i = order.size(); i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(order[i - 1], order[(state >> 33) % i]);
    }
    table_ = order;
    layout_ = layout;
  }
  // A view of the sequences in `rows` (their indices).
  PagedKvView View(const std::vector<int32_t>& rows, const std::vector<int32_t>& q_offsets,
                   const std::vector<int32_t>& kv_lens) {
    step_table_.clear();
    for (int32_t row : rows) {
      step_table_.insert(step_table_.end(), table_.begin() + row * max_pages_,
                         table_.begin() + (row + 1) * max_pages_);
    }
    PagedKvView view;
    view.layout = layout_;
    view.base = base_;
    view.num_pages = num_pages_;
    view.num_seqs = static_cast<int32_t>(rows.size());
    view.max_pages = max_pages_;
    view.page_table = step_table_.data();
    view.q_offsets = q_offsets.data();
    view.kv_lens = kv_lens.data();
    return view;
  }

 private:
  KvLayout layout_;
  std::vector<std::byte> bytes_;
  std::byte* base_ = nullptr;
  int32_t num_pages_ = 0, max_pages_ = 0;
  std::vector<int32_t> table_, step_table_;
};

struct Step {
  std::vector<int32_t> rows, ids, types, positions, q_offsets = {0}, kv_lens, logit_rows;
  std::vector<std::pair<size_t, size_t>> targets;  // (sequence, position) of each row
};

void Append(Step& step, const Sequences& sequences, size_t s, size_t begin, size_t count) {
  for (size_t i = begin; i < begin + count; ++i) {
    step.logit_rows.push_back(static_cast<int32_t>(step.ids.size()));
    step.ids.push_back(sequences.ids[s][i]);
    if (!sequences.types.empty()) step.types.push_back(sequences.types[s][i]);
    step.positions.push_back(static_cast<int32_t>(i));
    step.targets.emplace_back(s, i);
  }
  step.rows.push_back(static_cast<int32_t>(s));
  step.q_offsets.push_back(static_cast<int32_t>(step.ids.size()));
  step.kv_lens.push_back(static_cast<int32_t>(begin + count));
}

std::vector<Step> MakeSteps(const Sequences& sequences, const Options& options) {
  std::vector<Step> steps;
  std::vector<size_t> done(sequences.ids.size(), 0);
  if (options.batch) {
    for (bool more = true; more;) {
      more = false;
      Step step;
      for (size_t s = 0; s < done.size(); ++s) {
        const size_t left = sequences.ids[s].size() - done[s];
        if (left == 0) continue;
        const size_t count =
            options.chunk > 0 ? std::min<size_t>(left, static_cast<size_t>(options.chunk)) : left;
        Append(step, sequences, s, done[s], count);
        done[s] += count;
        more = true;
      }
      if (more) steps.push_back(std::move(step));
    }
    return steps;
  }
  for (size_t s = 0; s < done.size(); ++s) {
    const size_t size = sequences.ids[s].size();
    const size_t chunk = options.chunk > 0 ? static_cast<size_t>(options.chunk) : size;
    for (size_t begin = 0; begin < size; begin += chunk) {
      steps.emplace_back();
      Append(steps.back(), sequences, s, begin, std::min(chunk, size - begin));
    }
  }
  return steps;
}

Result<quant::KvFormat> KvDtype(const std::string& name) {
  if (const auto format = quant::KvFormatFromName(name)) return *format;
  return InvalidArgument("--kv: expected " + quant::KvFormatNames() + ", got " + name);
}

Status RunTool(const Options& options) {
  RILL_ASSIGN_OR_RETURN(const Sequences sequences, ReadSequences(options.ids));
  RILL_ASSIGN_OR_RETURN(const io::ModelSource source, io::OpenModel(options.model));
  RILL_ASSIGN_OR_RETURN(const std::unique_ptr<ops::Backend> backend,
                        backends::MakeBackend(options.backend));
  const std::vector<Step> steps = MakeSteps(sequences, options);
  model::ModelOptions load;
  load.activations =
      options.activations == "q8" ? ops::ActivationMode::kQ8 : ops::ActivationMode::kF32;
  load.weights = options.weights == "w8a8"     ? model::WeightMode::kW8A8
                 : options.weights == "w4g128" ? model::WeightMode::kW4G128
                                               : model::WeightMode::kFile;
  load.max_context = options.context;
  load.check_tensors = options.check;
  load.max_step_tokens = 1;
  for (const Step& step : steps) {
    load.max_step_tokens = std::max(load.max_step_tokens, static_cast<int32_t>(step.ids.size()));
  }
  RILL_ASSIGN_OR_RETURN(const std::unique_ptr<model::Model> model,
                        model::Model::Load(source, *backend, load));
  RILL_ASSIGN_OR_RETURN(const quant::KvFormat kv_dtype, KvDtype(options.kv));
  TestPages pages(model->MakeKvLayout(kv_dtype, options.page), sequences.ids);
  const int64_t width =
      model->config().is_encoder ? model->config().hidden_size : model->config().vocab_size;
  std::vector<int64_t> starts;
  int64_t total = 0;
  for (const auto& ids : sequences.ids) {
    starts.push_back(total);
    total += static_cast<int64_t>(ids.size());
  }
  std::vector<float> all(static_cast<size_t>(total * width));
  for (const Step& step : steps) {
    if (!options.trace.empty() && &step == &steps.back()) {
      model::ProgramHook hook;
      hook.after = [&](const model::ProgramNode& node) {
        if (node.place != options.trace) return;
        const auto output = model::Program::ReadOutput(node);
        if (!output.ok()) return;
        for (float v : *output) std::printf("%.9g\n", static_cast<double>(v));
      };
      model->mutable_program().SetHook(std::move(hook));
    }
    std::vector<float> logits(step.ids.size() * static_cast<size_t>(width));
    model::StepInput input;
    input.token_ids = step.ids;
    input.positions = step.positions;
    input.token_types = step.types;
    input.logit_rows = step.logit_rows;
    input.kv = pages.View(step.rows, step.q_offsets, step.kv_lens);
    MutableTensorView view(logits.data(), DType::kF32,
                           Shape{static_cast<int64_t>(step.ids.size()), width});
    RILL_RETURN_IF_ERROR(model->Forward(input, view));
    for (size_t r = 0; r < step.targets.size(); ++r) {
      const auto [s, i] = step.targets[r];
      std::memcpy(all.data() + (starts[s] + static_cast<int64_t>(i)) * width,
                  logits.data() + static_cast<int64_t>(r) * width,
                  static_cast<size_t>(width) * sizeof(float));
    }
  }
  if (options.program) {
    for (const model::ProgramNode& node : model->program().nodes()) {
      std::printf("%s: %s\n", node.place.c_str(), node.Describe().c_str());
    }
    std::printf("arena %lld bytes, unshared %lld\n",
                static_cast<long long>(model->program().arena_bytes()),
                static_cast<long long>(model->program().unshared_bytes()));
  }
  return WriteNpy(options.out, all, width);
}

}  // namespace
}  // namespace rill

int main(int argc, char** argv) {
  rill::Options options;
  std::vector<std::string> plain;
  if (argc == 2 && std::string(argv[1]) == "--backends") {
    for (const std::string& name : rill::backends::BackendNames())
      std::printf("%s\n", name.c_str());
    return 0;
  }
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    auto next = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (arg == "--backend")
      options.backend = next();
    else if (arg == "--kv")
      options.kv = next();
    else if (arg == "--activations")
      options.activations = next();
    else if (arg == "--weights")
      options.weights = next();
    else if (arg == "--trace")
      options.trace = next();
    else if (arg == "--chunk")
      options.chunk = std::atoi(next().c_str());
    else if (arg == "--page")
      options.page = std::atoi(next().c_str());
    else if (arg == "--context")
      options.context = std::atoi(next().c_str());
    else if (arg == "--batch")
      options.batch = true;
    else if (arg == "--program")
      options.program = true;
    else if (arg == "--check")
      options.check = true;
    else
      plain.push_back(arg);
  }
  if (plain.size() != 3) {
    std::fprintf(stderr, "usage: logits_tool MODEL IDS.json OUT.npy [options]\n");
    return 2;
  }
  options.model = plain[0];
  options.ids = plain[1];
  options.out = plain[2];
  const rill::Status status = rill::RunTool(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
