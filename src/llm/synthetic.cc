#include "llm/synthetic.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>

#include "base/side_thread.h"
#include "base/thread_pool.h"
#include "io/gguf.h"
#include "io/gguf_writer.h"
#include "io/mapped_file.h"
#include "quant/random_weights.h"
#include "rill/bench.h"

namespace rill::llm {
namespace {

struct SyntheticShape {
  const char* name;
  int32_t hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, vocab_size;
  int32_t num_experts = 0, top_k = 0;
  bool tied = false;  // the embedding table is the output matrix
};

constexpr SyntheticShape kShapes[] = {
    {"llama-tiny", 256, 512, 2, 4, 2, 512},
    {"llama-110m", 768, 2048, 12, 12, 12, 32000},
    {"llama-1.1b", 2048, 5632, 22, 32, 4, 32000},
    {"llama-3b", 3072, 8192, 28, 24, 8, 128256, 0, 0, true},
    {"llama-7b", 4096, 11008, 32, 32, 32, 32000},
    {"llama-8b", 4096, 14336, 32, 32, 8, 128256},
    {"mixtral-tiny", 256, 512, 2, 4, 2, 512, 4, 2},
    {"mixtral-8x1b", 2048, 5632, 22, 32, 4, 32000, 8, 2},
    {"mixtral-8x7b", 4096, 14336, 32, 32, 8, 32000, 8, 2},
};
constexpr int32_t kContext = 8192;

// Which format each matrix has.
struct Formats {
  DType base = DType::kQ4_0;  // most of them
  DType output = DType::kQ4_0;
  DType better = DType::kQ4_0;  // value and down projections of the layers that matter more
};

Result<Formats> FormatsOf(std::string_view name) {
  Formats f;
  if (name == "q4_k_m" || name == "q5_k_m") {
    f.base = name == "q4_k_m" ? DType::kQ4_K : DType::kQ5_K;
    f.output = f.better = DType::kQ6_K;
    return f;
  }
  const auto dtype = DTypeFromName(name);
  if (!dtype || !quant::CanFill(*dtype) || Traits(*dtype).gguf_type < 0) {
    std::string known;
    for (int i = 0; i < kNumDTypes; ++i) {
      const auto d = static_cast<DType>(i);
      if (quant::CanFill(d) && Traits(d).gguf_type >= 0) known += " " + std::string(DTypeName(d));
    }
    return Unsupported("synthetic format '" + std::string(name) + "': expected one of" + known +
                       " q4_k_m q5_k_m (--weights w8a8|w4g128 makes those of an f16 one)");
  }
  f.base = f.output = f.better = *dtype;
  if (IsQuantBlock(*dtype) && *dtype != DType::kQ8_0 && *dtype != DType::kQ8_K) {
    f.output = DType::kQ6_K;
  }
  return f;
}

// A vocabulary of bytes, printable characters and fillers, in SentencePiece's form.
void AddTokenizer(int32_t vocab_size, io::GgufWriter& w) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};  // unknown, control
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(6);  // byte
  }
  tokens.emplace_back("\xE2\x96\x81");  // U+2581, a space
  for (char c = '!'; c <= '~'; ++c) tokens.emplace_back(1, c);
  while (static_cast<int32_t>(tokens.size()) < vocab_size) {
    tokens.push_back(fmt::format("\xE2\x96\x81w{}", tokens.size()));
  }
  types.resize(tokens.size(), 1);  // normal
  std::vector<float> scores(tokens.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = types[i] == 1 ? -static_cast<float>(i) : 0;
  w.Add("tokenizer.ggml.model", std::string_view("llama"));
  w.Add("tokenizer.ggml.pre", std::string_view("default"));
  w.Add("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
  w.Add("tokenizer.ggml.scores", std::span<const float>(scores));
  w.Add("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  w.Add("tokenizer.ggml.bos_token_id", uint32_t{1});
  w.Add("tokenizer.ggml.eos_token_id", uint32_t{2});
  w.Add("tokenizer.ggml.unknown_token_id", uint32_t{0});
  w.Add("tokenizer.ggml.add_bos_token", true);
}

struct Tensor {
  std::string name;
  std::vector<int64_t> dims;
  DType dtype;
};

std::vector<Tensor> TensorsOf(const SyntheticShape& s, const Formats& f) {
  std::vector<Tensor> tensors;
  const int64_t hidden = s.hidden_size, head = s.hidden_size / s.num_heads;
  const int64_t kv = s.num_kv_heads * head, inner = s.intermediate_size;
  tensors.push_back({"token_embd.weight", {s.vocab_size, hidden}, s.tied ? f.output : f.base});
  tensors.push_back({"output_norm.weight", {hidden}, DType::kF32});
  if (!s.tied) tensors.push_back({"output.weight", {s.vocab_size, hidden}, f.output});
  for (int32_t i = 0; i < s.num_layers; ++i) {
    const std::string p = fmt::format("blk.{}.", i);
    // The layers that llama.cpp's mixtures give more bits: the first and last eighth, and every
    // third of the others.
    const int32_t n = s.num_layers;
    const bool matters = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    const DType better = matters ? f.better : f.base;
    tensors.push_back({p + "attn_norm.weight", {hidden}, DType::kF32});
    tensors.push_back({p + "attn_q.weight", {hidden, hidden}, f.base});
    tensors.push_back({p + "attn_k.weight", {kv, hidden}, f.base});
    tensors.push_back({p + "attn_v.weight", {kv, hidden}, better});
    tensors.push_back({p + "attn_output.weight", {hidden, hidden}, f.base});
    tensors.push_back({p + "ffn_norm.weight", {hidden}, DType::kF32});
    if (s.num_experts == 0) {
      tensors.push_back({p + "ffn_gate.weight", {inner, hidden}, f.base});
      tensors.push_back({p + "ffn_up.weight", {inner, hidden}, f.base});
      tensors.push_back({p + "ffn_down.weight", {hidden, inner}, better});
    } else {
      const int64_t e = s.num_experts;
      tensors.push_back({p + "ffn_gate_inp.weight", {e, hidden}, DType::kF32});
      tensors.push_back({p + "ffn_gate_exps.weight", {e, inner, hidden}, f.base});
      tensors.push_back({p + "ffn_up_exps.weight", {e, inner, hidden}, f.base});
      tensors.push_back({p + "ffn_down_exps.weight", {e, hidden, inner}, better});
    }
  }
  return tensors;
}

io::GgufWriter WriterOf(const SyntheticShape& s, const std::string& name,
                        const std::vector<Tensor>& tensors) {
  io::GgufWriter w;
  w.Add("general.architecture", std::string_view("llama"));
  w.Add("general.name", std::string_view(name));
  w.Add("llama.vocab_size", static_cast<uint32_t>(s.vocab_size));
  w.Add("llama.context_length", static_cast<uint32_t>(kContext));
  w.Add("llama.embedding_length", static_cast<uint32_t>(s.hidden_size));
  w.Add("llama.block_count", static_cast<uint32_t>(s.num_layers));
  w.Add("llama.feed_forward_length", static_cast<uint32_t>(s.intermediate_size));
  w.Add("llama.rope.dimension_count", static_cast<uint32_t>(s.hidden_size / s.num_heads));
  w.Add("llama.rope.freq_base", 10000.0f);
  w.Add("llama.attention.head_count", static_cast<uint32_t>(s.num_heads));
  w.Add("llama.attention.head_count_kv", static_cast<uint32_t>(s.num_kv_heads));
  w.Add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  if (s.num_experts > 0) {
    w.Add("llama.expert_count", static_cast<uint32_t>(s.num_experts));
    w.Add("llama.expert_used_count", static_cast<uint32_t>(s.top_k));
  }
  AddTokenizer(s.vocab_size, w);
  for (const Tensor& t : tensors) w.AddTensor(t.name, t.dims, t.dtype);
  return w;
}

Status FillTensor(const Tensor& t, uint64_t seed, std::byte* out) {
  int64_t count = 1;
  for (int64_t dim : t.dims) count *= dim;
  if (t.dims.size() == 1) {  // a norm
    const float one = 1.0f;
    for (int64_t i = 0; i < count; ++i) std::memcpy(out + 4 * i, &one, 4);
    return OkStatus();
  }
  return quant::FillRandom(t.dtype, count, 1.0f / std::sqrt(static_cast<float>(t.dims.back())),
                           seed, out);
}

// The whole file, in memory.
Result<std::shared_ptr<io::MappedFile>> MakeFile(std::string_view spec, SyntheticWeights weights) {
  const std::string path = std::string(kSyntheticPrefix) + std::string(spec);
  const size_t colon = spec.find(':');
  const SyntheticShape* shape = nullptr;
  std::string known;
  for (const SyntheticShape& s : kShapes) {
    if (spec.substr(0, colon) == s.name) shape = &s;
    known += std::string(" ") + s.name;
  }
  if (shape == nullptr || colon == std::string_view::npos) {
    return InvalidArgument(path + ": expected synthetic:SHAPE:FORMAT, SHAPE one of" + known);
  }
  RILL_ASSIGN_OR_RETURN(const Formats formats, FormatsOf(spec.substr(colon + 1)));
  const std::vector<Tensor> tensors = TensorsOf(*shape, formats);
  const io::GgufWriter writer = WriterOf(*shape, std::string(spec), tensors);
  const std::string header = writer.Header();
  const bool is_filled = weights != SyntheticWeights::kNone;
  RILL_ASSIGN_OR_RETURN(
      auto file, io::MappedFile::Allocate(header.size() + static_cast<size_t>(writer.data_bytes()),
                                          path, is_filled ? SIZE_MAX : header.size()));
  std::byte* data = file->mutable_data();
  std::memcpy(data, header.data(), header.size());
  if (!is_filled) return file;
  std::atomic<size_t> next{0};
  std::vector<Status> errors(tensors.size());
  OnThreads(static_cast<size_t>(AvailableCpus()), [&] {
    for (size_t i; (i = next++) < tensors.size();) {
      errors[i] = FillTensor(tensors[i], i + 1, data + header.size() + writer.offset(i));
    }
  });
  for (const Status& error : errors) {
    if (!error.ok()) return error.WithPrefix(path);
  }
  return file;
}

std::string_view WithoutPrefix(std::string_view spec) {
  if (spec.starts_with(kSyntheticPrefix)) spec.remove_prefix(kSyntheticPrefix.size());
  return spec;
}

}  // namespace

std::vector<std::string> SyntheticShapes() {
  std::vector<std::string> names;
  for (const SyntheticShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Result<io::ModelSource> MakeSynthetic(std::string_view spec, SyntheticWeights weights) {
  RILL_ASSIGN_OR_RETURN(auto file, MakeFile(WithoutPrefix(spec), weights));
  RILL_ASSIGN_OR_RETURN(io::GgufFile parsed, io::ParseGguf(file->bytes(), file->path()));
  io::ModelSource source;
  source.format = io::ModelFormat::kGguf;
  source.path = file->path();
  source.tensors = std::move(parsed.tensors);
  source.tensors.AddFile(file);
  // The metadata's strings lie in the file.
  struct Owned {
    io::GgufMetadata metadata;
    std::shared_ptr<const io::MappedFile> file;
  };
  auto owned = std::make_shared<Owned>(Owned{std::move(parsed.metadata), std::move(file)});
  source.gguf = std::shared_ptr<const io::GgufMetadata>(owned, &owned->metadata);
  return source;
}

void ReleaseSyntheticWeights(io::ModelSource& source) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (const io::TensorEntry& entry : source.tensors.entries()) {
    if (entry.name == "token_embd.weight") continue;
    const auto begin = (reinterpret_cast<uintptr_t>(entry.view.data) + page - 1) / page * page;
    const auto end = (reinterpret_cast<uintptr_t>(entry.view.data) +
                      static_cast<uintptr_t>(entry.view.SizeBytes())) /
                     page * page;
    if (end > begin) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
}

}  // namespace rill::llm

namespace rill {

std::vector<std::string> SyntheticShapes() {
  return llm::SyntheticShapes();
}

Status WriteSyntheticModel(std::string_view spec,
                           const std::function<Status(std::string_view bytes)>& write) {
  RILL_ASSIGN_OR_RETURN(const auto file,
                        llm::MakeFile(llm::WithoutPrefix(spec), llm::SyntheticWeights::kRandom));
  const auto bytes = file->bytes();
  return write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace rill
