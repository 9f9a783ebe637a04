#include "io/llama2c.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "base/checked_math.h"
#include "base/utf8.h"
#include "io/safe_open.h"

namespace rill::io {
namespace {

constexpr uint32_t kMagic = 0x616B3432;  // "ak42" as a little-endian integer
constexpr size_t kHeaderBytesV0 = 7 * sizeof(int32_t);
constexpr size_t kHeaderBytesV1 = 256;
constexpr size_t kMaxVocabBytes = 64u << 20;
constexpr size_t kMaxVocabTokens = 1u << 20;

struct Header {
  int version = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  bool tied = true;  // lm_head is the embedding
  size_t size_bytes = 0;

  int64_t head_dim() const { return hidden_size / num_heads; }
  int64_t kv_size() const { return num_kv_heads * head_dim(); }
};

Status Error(std::string_view culprit, std::string_view what) {
  return InvalidArgument(std::string(culprit) + ": " + std::string(what));
}

Status CheckField(std::string_view culprit, std::string_view field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return OkStatus();
  return Error(culprit, std::string(field) + ": expected 1 to " + std::to_string(max) +
                            ", file has " + std::to_string(value));
}

Result<Header> ParseHeader(std::span<const std::byte> bytes, std::string_view culprit) {
  Header header;
  if (bytes.size() < kHeaderBytesV0) return Error(culprit, "too short for a llama2.c header");
  uint32_t magic = 0;
  std::memcpy(&magic, bytes.data(), sizeof magic);
  size_t fields_at = 0;
  header.size_bytes = kHeaderBytesV0;
  if (magic == kMagic) {
    if (bytes.size() < kHeaderBytesV1) return Error(culprit, "too short for a llama2.c header");
    int32_t version = 0;
    std::memcpy(&version, bytes.data() + 4, sizeof version);
    if (version != 1) {
      return Unsupported(std::string(culprit) + ": llama2.c version " + std::to_string(version) +
                         " is not supported; supported: 0 and 1 (f32)");
    }
    header.version = 1;
    header.size_bytes = kHeaderBytesV1;
    fields_at = 8;
  }
  int32_t fields[7];
  std::memcpy(fields, bytes.data() + fields_at, sizeof fields);
  header.hidden_size = fields[0];
  header.intermediate_size = fields[1];
  header.num_layers = fields[2];
  header.num_heads = fields[3];
  header.num_kv_heads = fields[4];
  header.vocab_size = fields[5];
  header.max_positions = fields[6];
  if (header.version == 1) {
    const auto shared = static_cast<uint8_t>(bytes[fields_at + sizeof fields]);
    if (shared > 1) {
      return Error(culprit, "shared_classifier at byte 36: expected 0 or 1, file has " +
                                std::to_string(shared));
    }
    header.tied = shared == 1;
  } else if (header.vocab_size < 0) {
    header.tied = false;
    header.vocab_size = -header.vocab_size;
  }
  // With these limits no product of three of them overflows 64 bits.
  RILL_RETURN_IF_ERROR(CheckField(culprit, "dim", header.hidden_size, 1 << 17));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "hidden_dim", header.intermediate_size, 1 << 20));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "n_layers", header.num_layers, 1 << 12));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "n_heads", header.num_heads, header.hidden_size));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "n_kv_heads", header.num_kv_heads, header.num_heads));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "vocab_size", header.vocab_size, 1 << 24));
  RILL_RETURN_IF_ERROR(CheckField(culprit, "max_seq_len", header.max_positions, 1 << 24));
  if (header.hidden_size % header.num_heads != 0 || header.head_dim() % 2 != 0 ||
      header.num_heads % header.num_kv_heads != 0) {
    return Error(culprit, "dim " + std::to_string(header.hidden_size) + ", n_heads " +
                              std::to_string(header.num_heads) + ", n_kv_heads " +
                              std::to_string(header.num_kv_heads) +
                              ": heads must divide dim into even sizes, KV heads the heads");
  }
  return header;
}

// One kind of weight: per layer ("model.layers.<i>." + name) or once; no name: skipped.
struct Part {
  std::string_view name;
  bool per_layer;
  Shape shape;
};

std::vector<Part> Parts(const Header& h) {
  const int64_t d = h.hidden_size;
  const int64_t f = h.intermediate_size;
  const Part embed{"model.embed_tokens.weight", false, {h.vocab_size, d}};
  const Part attention_norm{"input_layernorm.weight", true, {d}};
  const Part q{"self_attn.q_proj.weight", true, {d, d}};
  const Part k{"self_attn.k_proj.weight", true, {h.kv_size(), d}};
  const Part v{"self_attn.v_proj.weight", true, {h.kv_size(), d}};
  const Part o{"self_attn.o_proj.weight", true, {d, d}};
  const Part ffn_norm{"post_attention_layernorm.weight", true, {d}};
  const Part gate{"mlp.gate_proj.weight", true, {f, d}};
  const Part down{"mlp.down_proj.weight", true, {d, f}};
  const Part up{"mlp.up_proj.weight", true, {f, d}};
  const Part norm{"model.norm.weight", false, {d}};
  const Part rope_table{"", false, {2, h.max_positions, h.head_dim() / 2}};
  std::vector<Part> parts;
  if (h.version == 0) {
    parts = {embed, attention_norm, q, k, v, o, ffn_norm, gate, down, up, norm, rope_table};
  } else {
    parts = {attention_norm, ffn_norm, norm, embed, q, k, v, o, gate, down, up};
  }
  if (!h.tied) parts.push_back({"lm_head.weight", false, {h.vocab_size, d}});
  return parts;
}

// Bytes of a whole checkpoint, or nothing when they do not fit 64 bits.
std::optional<uint64_t> ExpectedBytes(const Header& header) {
  uint64_t total = header.size_bytes;
  for (const Part& part : Parts(header)) {
    uint64_t bytes = sizeof(float);
    for (int i = 0; i < part.shape.rank; ++i) {
      const auto product = CheckedMul(bytes, static_cast<uint64_t>(part.shape[i]));
      if (!product) return std::nullopt;
      bytes = *product;
    }
    const uint64_t copies = part.per_layer ? static_cast<uint64_t>(header.num_layers) : 1;
    const auto all = CheckedMul(bytes, copies);
    if (!all) return std::nullopt;
    const auto sum = CheckedAdd(total, *all);
    if (!sum) return std::nullopt;
    total = *sum;
  }
  return total;
}

Json MakeConfig(const Header& h) {
  Json config;
  config.Set("model_type", "llama");
  config.Set("architectures", Json::Array{Json("LlamaForCausalLM")});
  config.Set("hidden_size", h.hidden_size);
  config.Set("intermediate_size", h.intermediate_size);
  config.Set("num_hidden_layers", h.num_layers);
  config.Set("num_attention_heads", h.num_heads);
  config.Set("num_key_value_heads", h.num_kv_heads);
  config.Set("head_dim", h.head_dim());
  config.Set("vocab_size", h.vocab_size);
  config.Set("max_position_embeddings", h.max_positions);
  config.Set("hidden_act", "silu");
  config.Set("rms_norm_eps", 1e-5);
  config.Set("rope_theta", 10000.0);
  config.Set("rope_interleaved", true);
  config.Set("tie_word_embeddings", h.tied);
  config.Set("torch_dtype", "float32");
  config.Set("bos_token_id", 1);
  config.Set("eos_token_id", 2);
  return config;
}

Status ParseInto(std::span<const std::byte> bytes, std::string_view culprit, uint32_t file_index,
                 Llama2cModel& out) {
  RILL_ASSIGN_OR_RETURN(const Header header, ParseHeader(bytes, culprit));
  const std::optional<uint64_t> expected = ExpectedBytes(header);
  if (!expected || *expected != bytes.size()) {
    return Error(culprit, "a llama2.c checkpoint of this header has " +
                              (expected ? std::to_string(*expected) : "over 2^64") +
                              " bytes, the file has " + std::to_string(bytes.size()));
  }
  uint64_t offset = header.size_bytes;
  for (const Part& part : Parts(header)) {
    const int64_t copies = part.per_layer ? header.num_layers : 1;
    for (int64_t i = 0; i < copies; ++i) {
      TensorEntry entry;
      entry.name = part.per_layer
                       ? "model.layers." + std::to_string(i) + "." + std::string(part.name)
                       : std::string(part.name);
      entry.file_index = file_index;
      entry.offset_bytes = offset;
      entry.view = TensorView(bytes.data() + offset, DType::kF32, part.shape);
      offset += static_cast<uint64_t>(entry.view.SizeBytes());
      if (!part.name.empty()) RILL_RETURN_IF_ERROR(out.tensors.Add(std::move(entry)));
    }
  }
  out.config = MakeConfig(header);
  return OkStatus();
}

}  // namespace

bool IsLlama2c(std::span<const std::byte> bytes) {
  uint32_t magic = 0;
  if (bytes.size() < kHeaderBytesV0) return false;
  std::memcpy(&magic, bytes.data(), sizeof magic);
  if (magic == kMagic) return true;
  const Result<Header> header = ParseHeader(bytes, "");
  return header.ok() && ExpectedBytes(*header) == bytes.size();
}

Result<Llama2cModel> ParseLlama2c(std::span<const std::byte> bytes, std::string_view culprit) {
  Llama2cModel out;
  RILL_RETURN_IF_ERROR(ParseInto(bytes, culprit, 0, out));
  return out;
}

Result<Llama2cModel> OpenLlama2c(const std::string& path, const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path, options));
  const std::span<const std::byte> bytes = file->bytes();
  Llama2cModel out;
  const uint32_t file_index = out.tensors.AddFile(std::move(file));
  RILL_RETURN_IF_ERROR(ParseInto(bytes, PrintableUtf8(path, 1000), file_index, out));
  return out;
}

Result<Llama2cVocab> ParseLlama2cVocab(std::span<const std::byte> bytes, std::string_view culprit) {
  Llama2cVocab out;
  size_t offset = 0;
  const auto error = [&](std::string_view what) {
    return Error(culprit, "token " + std::to_string(out.pieces.size()) + " at byte " +
                              std::to_string(offset) + ": " + std::string(what));
  };
  if (bytes.size() < sizeof out.max_token_bytes) {
    return Error(culprit, "not a llama2.c tokenizer: " + std::to_string(bytes.size()) + " bytes");
  }
  std::memcpy(&out.max_token_bytes, bytes.data(), sizeof out.max_token_bytes);
  offset = sizeof out.max_token_bytes;
  while (offset < bytes.size()) {
    if (out.pieces.size() == kMaxVocabTokens) return error("more tokens than the limit");
    float score = 0;
    int32_t length = 0;
    if (bytes.size() - offset < sizeof score + sizeof length) return error("the file ends here");
    std::memcpy(&score, bytes.data() + offset, sizeof score);
    std::memcpy(&length, bytes.data() + offset + sizeof score, sizeof length);
    if (std::isnan(score)) return error("its score is NaN");
    if (length < 0 || static_cast<uint32_t>(length) > out.max_token_bytes) {
      return error("length " + std::to_string(length) + ", the header promises at most " +
                   std::to_string(out.max_token_bytes));
    }
    const auto size = static_cast<size_t>(length);
    if (size > bytes.size() - offset - sizeof score - sizeof length) {
      return error("length " + std::to_string(length) + " reaches beyond the end of the file");
    }
    offset += sizeof score + sizeof length;
    out.pieces.emplace_back(reinterpret_cast<const char*>(bytes.data() + offset), size);
    out.scores.push_back(score);
    offset += size;
  }
  if (out.pieces.empty()) return Error(culprit, "a tokenizer without tokens");
  return out;
}

Result<Llama2cVocab> ReadLlama2cVocab(const std::string& path) {
  RILL_ASSIGN_OR_RETURN(const OpenedFile file, OpenRegularFile(path));
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadAll(file, path, kMaxVocabBytes));
  return ParseLlama2cVocab(std::as_bytes(std::span(text)), PrintableUtf8(path, 1000));
}

}  // namespace rill::io
