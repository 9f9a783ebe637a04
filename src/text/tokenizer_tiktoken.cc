// *.tiktoken files: one "base64-token rank" a line. The file holds neither the pattern nor the
// special tokens: both follow from which vocabulary it is, known by its size.

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

#include "base/utf8.h"
#include "text/base64.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

constexpr std::string_view kR50k =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr std::string_view kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Special {
  std::string_view text;
  int32_t id;
};
struct KnownEncoding {
  std::string_view name;
  size_t num_tokens;
  std::string_view pattern;
  std::array<Special, 10> special;
  std::string_view eos;
};

constexpr KnownEncoding kKnown[] = {
    {"r50k_base", 50256, kR50k, {{{"<|endoftext|>", 50256}}}, "<|endoftext|>"},
    {"p50k_base", 50280, kR50k, {{{"<|endoftext|>", 50256}}}, "<|endoftext|>"},
    {"cl100k_base",
     100256,
     kCl100k,
     {{{"<|endoftext|>", 100257},
       {"<|fim_prefix|>", 100258},
       {"<|fim_middle|>", 100259},
       {"<|fim_suffix|>", 100260},
       {"<|endofprompt|>", 100276}}},
     "<|endoftext|>"},
    {"o200k_base",
     199998,
     kO200k,
     {{{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
     "<|endoftext|>"},
    {"llama3",
     128000,
     kLlama3,
     {{{"<|begin_of_text|>", 128000},
       {"<|end_of_text|>", 128001},
       {"<|start_header_id|>", 128006},
       {"<|end_header_id|>", 128007},
       {"<|eom_id|>", 128008},
       {"<|eot_id|>", 128009},
       {"<|python_tag|>", 128010}}},
     "<|end_of_text|>"},
    {"qwen",
     151643,
     kQwen,
     {{{"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}},
     "<|endoftext|>"},
};

struct Tokens {
  std::string arena;
  StringTable keys;
};

// Reads every line. `lines` are views into the file: base64 and rank.
Status ReadLines(std::string_view text, std::vector<std::pair<std::string_view, int32_t>>& lines) {
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    int32_t rank = -1;
    const char* last = line.data() + line.size();
    if (space != std::string_view::npos) {
      const auto parsed = std::from_chars(line.data() + space + 1, last, rank);
      if (parsed.ec != std::errc() || parsed.ptr != last) rank = -1;
    }
    if (rank < 0 || rank >= kMaxVocabSize) {
      return InvalidArgument("line " + std::to_string(number) +
                             ": expected \"<base64> <rank>\", got \"" + PrintableUtf8(line, 60) +
                             "\"");
    }
    lines.push_back({line.substr(0, space), rank});
  }
  if (lines.empty()) return InvalidArgument("no tokens");
  return OkStatus();
}

Status Load(std::string_view text, TokenizerParts& parts) {
  std::vector<std::pair<std::string_view, int32_t>> lines;
  RILL_RETURN_IF_ERROR(ReadLines(text, lines));
  const auto* known =
      std::find_if(std::begin(kKnown), std::end(kKnown),
                   [&](const KnownEncoding& k) { return k.num_tokens == lines.size(); });
  if (known == std::end(kKnown)) {
    std::string names;
    for (const KnownEncoding& k : kKnown) {
      names += std::string(names.empty() ? "" : ", ") + std::string(k.name) + " (" +
               std::to_string(k.num_tokens) + ")";
    }
    return Unsupported("a tiktoken file of " + std::to_string(lines.size()) +
                       " tokens is none of those whose pattern is known: " + names);
  }
  auto tokens = std::make_shared<Tokens>();
  tokens->arena.reserve(text.size());
  tokens->keys.Reserve(lines.size());
  parts.vocab = std::make_unique<Vocab>();
  parts.vocab->Reserve(lines.size() + known->special.size(), 2 * text.size() + 4096);
  std::vector<uint32_t> rank;
  std::vector<int32_t> byte_ids(256, -1);
  std::string stand_in;
  for (const auto& [base64, id] : lines) {
    const std::optional<std::string> bytes = DecodeBase64(base64);
    if (!bytes || bytes->empty()) {
      return InvalidArgument("token " + std::to_string(id) + ": not base64: \"" +
                             PrintableUtf8(base64, 40) + "\"");
    }
    const size_t offset = tokens->arena.size();
    tokens->arena += *bytes;
    const std::string_view key = std::string_view(tokens->arena).substr(offset);
    if (static_cast<size_t>(id) >= rank.size()) rank.resize(static_cast<size_t>(id) + 1, 0);
    rank[static_cast<size_t>(id)] = static_cast<uint32_t>(id);
    stand_in.clear();
    AppendByteLevel(stand_in, *bytes);
    RILL_RETURN_IF_ERROR(parts.vocab->Add(id, stand_in));
    if (!tokens->keys.Insert(key, id)) {
      return InvalidArgument("token " + std::to_string(id) + " stands in the file twice");
    }
    if (key.size() == 1) byte_ids[static_cast<unsigned char>(key[0])] = id;
  }
  for (const Special& special : known->special) {
    if (special.text.empty()) continue;
    RILL_RETURN_IF_ERROR(parts.vocab->Add(special.id, special.text));
    AddedToken token;
    token.id = special.id;
    token.text = special.text;
    token.special = true;
    parts.added.push_back(std::move(token));
  }
  parts.model = MakeByteRankBpe(tokens->keys, std::move(rank), std::move(byte_ids));
  parts.model_data = tokens;
  PreTokenizerStep split;
  RILL_ASSIGN_OR_RETURN(split.matcher, CompilePattern(known->pattern));
  PreTokenizerStep to_bytes;
  to_bytes.kind = PreTokenizerStep::Kind::kByteLevel;
  to_bytes.use_regex = false;
  std::vector<PreTokenizerStep> steps = {std::move(split), std::move(to_bytes)};
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  parts.pre_tokenizer.SkipByteMapping();
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kByteLevel;
  std::vector<DecoderStep> decoders = {std::move(decoder)};
  parts.decoder = TokenDecoder(std::move(decoders));
  parts.eos_id = parts.vocab->Find(known->eos);
  if (known->name == "llama3") {
    parts.bos_id = 128000;
    parts.prefix_ids.push_back(128000);
  }
  parts.kind = "byte-level BPE (tiktoken " + std::string(known->name) + ")";
  return OkStatus();
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LoadTiktoken(std::string_view text,
                                                      std::string_view culprit,
                                                      const TokenizerSideFiles& side) {
  TokenizerParts parts;
  if (Status status = Load(text, parts); !status.ok()) return status.WithPrefix(culprit);
  ApplySideFiles(side, parts);
  auto tokenizer = MakePipelineTokenizer(std::move(parts));
  if (!tokenizer.ok()) return tokenizer.status().WithPrefix(culprit);
  return tokenizer;
}

}  // namespace rill::text
