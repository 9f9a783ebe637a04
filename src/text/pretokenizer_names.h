// The pre-tokenizers that GGUF files name in tokenizer.ggml.pre.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "text/pretokenizer.h"

namespace rill::text {

struct NamedPreTokenizer {
  std::vector<PreTokenizerStep> steps;  // the last one maps to bytes
  bool ignore_merges = false;           // a piece that is a token is that token
  bool add_bos = false;                 // when the file does not say
  bool add_sep = false;                 // BERT-like: SEP after the text
};

// Errors: kUnsupported for an unknown name; the message lists the known ones.
Result<NamedPreTokenizer> FindPreTokenizer(std::string_view name);

}  // namespace rill::text
