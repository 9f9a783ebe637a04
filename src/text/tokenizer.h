// Tokenizer: text <-> token ids, as the model's own tokenizer does it.
//
// Immutable after load, so thread-safe. Encoding takes time linear in the text's size and bounded
// memory whatever the text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_source.h"
#include "rill/status.h"
#include "text/marked_text.h"

namespace rill::text {

struct EncodeOptions {
  bool add_special = true;  // BOS/EOS/CLS/SEP as the model's own rules say
  // Special (control) tokens written in the text become their ids. Applies to plain strings; for
  // MarkedText exactly the trusted runs may hold special tokens.
  bool parse_special = false;
};

struct DecodeOptions {
  bool skip_special = false;  // leave control tokens out
};

class DecodeStream;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Never fails; ill-formed UTF-8 is replaced by U+FFFD first, one for each maximal ill-formed
  // part, which is what the models' own libraries are given.
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options = {}) const;
  std::vector<int32_t> Encode(const MarkedText& text, bool add_special) const;

  // The text of a whole sequence. Ids outside [0, vocab_size) give U+FFFD. The result may hold
  // ill-formed UTF-8 as U+FFFD, exactly as the model's own library prints it.
  std::string Decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;

  virtual int32_t vocab_size() const = 0;     // number of ids, added tokens included
  virtual std::string_view kind() const = 0;  // "byte-level BPE (smollm)", "SentencePiece BPE", …
  // The token as it stands in the vocabulary file; empty when the id has none.
  virtual std::string TokenText(int32_t id) const = 0;
  // The bytes that this token adds to the output (" Hello", a lone continuation byte, …).
  virtual std::string TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;  // control token: BOS, <|im_end|>, …
  virtual std::optional<int32_t> FindToken(std::string_view token_text) const = 0;

  std::optional<int32_t> bos_id() const { return bos_id_; }
  std::optional<int32_t> eos_id() const { return eos_id_; }
  // Every id that ends generation: EOS, EOT and what generation_config.json lists. Sorted.
  std::span<const int32_t> stop_ids() const { return stop_ids_; }

 protected:
  // How the implementation is split (special tokens, pre-tokenizer, model, post-processing) is in
  // the .cc files.
  virtual void EncodeTo(const MarkedText& text, bool add_special,
                        std::vector<int32_t>& out) const = 0;
  // Decoding is always a stream: what Decode and IncrementalDetokenizer do is the same code.
  virtual std::unique_ptr<DecodeStream> StartDecoding() const = 0;
  // The text that the decoder gets for this id; nullopt when the id has no token.
  virtual std::optional<std::string_view> DecoderText(int32_t id) const = 0;
  friend class IncrementalDetokenizer;

  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
  std::vector<int32_t> stop_ids_;
};

// Turns a growing sequence of ids into text, piece by piece: the pieces joined equal Decode() of
// all ids, and no piece ends inside a UTF-8 character.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, DecodeOptions options = {});
  ~IncrementalDetokenizer();
  IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept;
  // The text that is certain now, after this id; may be empty.
  std::string Push(int32_t id);
  // What is held back at the end (incomplete characters as U+FFFD). No Push may follow.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The tokenizer of a model: from GGUF metadata, or from tokenizer.json, tokenizer.model,
// vocab.json + merges.txt, vocab.txt or a *.tiktoken file in the folder (first found).
Result<std::shared_ptr<const Tokenizer>> LoadTokenizer(const io::ModelSource& source);
// The same from one tokenizer file: .gguf, .json (tokenizer.json), .model (SentencePiece, any
// suffix after ".model" allowed), .tiktoken; or a folder that has tokenizer files.
Result<std::shared_ptr<const Tokenizer>> LoadTokenizerFile(const std::string& path);

}  // namespace rill::text
