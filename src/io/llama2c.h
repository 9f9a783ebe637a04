// Checkpoints and tokenizers of llama2.c: raw f32 weights behind a small header, no names.
//
// Version 0: seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len;
//   a negative vocab_size means that lm_head has weights of its own), then the weights, all layers
//   of one kind together, and between them two unused tables of RoPE cosines and sines.
// Version 1: "ak42" | i32 1 | the seven i32 | u8 shared_classifier | zeros up to byte 256, then the
//   weights in another order, without the tables. Version 2 (int8 groups) is refused.
// Source: llama2.c, export.py (legacy_export, version1_export).
//
// Tensors get the names and shapes of a Hugging Face Llama. The file says nothing of RoPE's base or
// the norms' epsilon: llama2.c has 10000 and 1e-5 built in. Its attention rotates neighbouring
// pairs (2i, 2i + 1), so the config says "rope_interleaved": true.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "io/mapped_file.h"
#include "io/tensor_directory.h"
#include "rill/status.h"

namespace rill::io {

// Does it look like such a checkpoint: is the header's arithmetic equal to `bytes.size()`, or the
// version-1 magic there? Pickles and zip archives never do.
bool IsLlama2c(std::span<const std::byte> bytes);

struct Llama2cModel {
  TensorDirectory tensors;
  Json config;  // as config.json of a LlamaForCausalLM, with "rope_interleaved": true
};
Result<Llama2cModel> OpenLlama2c(const std::string& path, const OpenOptions& options = {});
// `bytes` must outlive the result. For fuzzing.
Result<Llama2cModel> ParseLlama2c(std::span<const std::byte> bytes, std::string_view culprit);

// A tokenizer.bin / tok512.bin: u32 max_token_length, then per token f32 score, i32 length, bytes.
// A piece is text with real spaces (not U+2581); ids 0, 1, 2 are <unk>, <s>, </s>; "<0x0A>" is a
// byte. Encoding is SentencePiece BPE: merge the neighbouring pair whose piece has the best score.
struct Llama2cVocab {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  uint32_t max_token_bytes = 0;
};
Result<Llama2cVocab> ParseLlama2cVocab(std::span<const std::byte> bytes, std::string_view culprit);
Result<Llama2cVocab> ReadLlama2cVocab(const std::string& path);

}  // namespace rill::io
