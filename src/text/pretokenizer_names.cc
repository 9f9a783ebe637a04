#include "text/pretokenizer_names.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/utf8.h"

namespace rill::text {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Escaped, because an editor that normalizes text would change the class.
constexpr std::string_view kLatinLetters =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-"
    "\u02AF\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1"
    "\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD"
    "\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D"
    "\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-"
    "\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4"
    "\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D"
    "\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4"
    "\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E"
    "\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F"
    "\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2"
    "\U000118A0-\U000118DF\U0001E900-\U0001E943]+";
constexpr std::string_view kCjk = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
constexpr std::string_view kCjkKana = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kBloom = " ?[^(\\s|.,!?…。，、।۔،)]+";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kFalconPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";

enum Flag : uint8_t { kNone = 0, kIgnoreMerges = 1, kAddBos = 2, kAddSep = 4 };

struct Entry {
  std::string_view name;
  std::array<std::string_view, 5> patterns;  // each Isolated, in order; empty ones are skipped
  uint8_t flags = kNone;
};

// Sorted by name within its group; one line an entry.
constexpr Entry kEntries[] = {
    // GPT-2's own pattern
    {"a.x-4.0", {kGpt2}},
    {"exaone4", {kGpt2}},
    {"gigachat", {kGpt2}},
    {"gpt-2", {kGpt2}},
    {"granite-docling", {kGpt2}},
    {"jais", {kGpt2}},
    {"jina-de", {kGpt2}},
    {"jina-es", {kGpt2}},
    {"jina-v2-de", {kGpt2}},
    {"jina-v2-es", {kGpt2}},
    {"mellum", {kGpt2}},
    {"modern-bert", {kGpt2}},
    {"mpt", {kGpt2}},
    {"olmo", {kGpt2}},
    {"phi-2", {kGpt2}},
    {"trillion", {kGpt2}},
    {"jina-v1-en", {kGpt2}, kAddSep},
    {"jina-v2-code", {kGpt2}, kAddSep},
    {"roberta-bpe", {kGpt2}, kAddSep},
    // single digits, then GPT-2
    {"codeshell", {R"(\p{N})", kGpt2}},
    {"command-r", {R"(\p{N})", kGpt2}},
    {"exaone", {R"(\p{N})", kGpt2}},
    {"mellum2", {R"(\p{N})", kGpt2}},
    {"minerva-7b", {R"(\p{N})", kGpt2}},
    {"refact", {R"(\p{N})", kGpt2}},
    {"smollm", {R"(\p{N})", kGpt2}},
    {"starcoder", {R"(\p{N})", kGpt2}},
    // cl100k and relatives
    {"chatglm-bpe", {kLlama3}},
    {"dbrx", {kLlama3}},
    {"glm4", {kLlama3}},
    {"grok-2", {kLlama3}},
    {"smaug-bpe", {kLlama3}},
    {"falcon-h1", {kLlama3}, kIgnoreMerges | kAddBos},
    {"falcon3", {kLlama3}, kIgnoreMerges | kAddBos},
    {"jina-v5-nano", {kLlama3}, kIgnoreMerges | kAddBos},
    {"lfm2", {kLlama3}, kIgnoreMerges | kAddBos},
    {"llama-bpe", {kLlama3}, kIgnoreMerges | kAddBos},
    {"llama-v3", {kLlama3}, kIgnoreMerges | kAddBos},
    {"llama3", {kLlama3}, kIgnoreMerges | kAddBos},
    {"midm-2.0", {kLlama3}, kIgnoreMerges | kAddBos},
    {"pixtral", {kLlama3}, kIgnoreMerges | kAddBos},
    {"bailingmoe", {kQwen2}},
    {"bailingmoe2", {kQwen2}},
    {"deepseek-r1-qwen", {kQwen2}},
    {"f2llmv2", {kQwen2}},
    {"hunyuan", {kQwen2}},
    {"kormo", {kQwen2}},
    {"llada-moe", {kQwen2}},
    {"megrez", {kQwen2}},
    {"qwen2", {kQwen2}},
    {"solar-open", {kQwen2}},
    {"stablelm2", {kQwen2}},
    {"qwen35", {kQwen35}},
    // o200k and relatives
    {"gpt-4o", {kO200k}},
    {"kanana2", {kO200k}},
    {"llama4", {kO200k}},
    {"minimax-m2", {kO200k}},
    {"talkie", {kO200k}},
    {"tekken", {kTekken}, kIgnoreMerges | kAddBos},
    // rows of patterns
    {"deepseek-coder", {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, R"(\p{N})"}},
    {"deepseek-v3", {R"(\p{N}{1,3})", kCjkKana, kDeepseek3}},
    {"hunyuan-dense", {R"(\p{N}{1,3})", kCjkKana, kDeepseek3}},
    {"joyai-llm", {R"(\p{N}{1,3})", kCjkKana, kDeepseek3}},
    {"falcon", {kFalconPunctuation, kGpt2, kThreeDigits}},
    {"bloom", {kBloom}},
    {"gpt3-finnish", {kBloom}},
    {"poro-chat", {kBloom}},
    {"viking", {kBloom, R"(\p{N})"}},
    {"superbpe", {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"}},
    {"seed-coder",
     {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {"default", {kFalconPunctuation, kGpt2, R"(\p{N}+)", kThreeDigits}},
};

}  // namespace

Result<NamedPreTokenizer> FindPreTokenizer(std::string_view name) {
  NamedPreTokenizer out;
  const auto add = [&out](std::string_view pattern) -> Status {
    PreTokenizerStep step;
    RILL_ASSIGN_OR_RETURN(step.matcher, CompilePattern(pattern));
    out.steps.push_back(std::move(step));
    return OkStatus();
  };
  if (name == "deepseek-llm") {  // six patterns
    for (const std::string_view pattern :
         {std::string_view("[\r\n]"), kLatinLetters,
          std::string_view("\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+"),
          std::string_view(R"(\s+$)"), kCjk, std::string_view(R"(\p{N}+)")}) {
      RILL_RETURN_IF_ERROR(add(pattern));
    }
  } else {
    const auto* entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                     [&](const Entry& e) { return e.name == name; });
    if (entry == std::end(kEntries)) {
      std::string known = "deepseek-llm";
      for (const Entry& e : kEntries) known += ", " + std::string(e.name);
      return Unsupported("pre-tokenizer \"" + PrintableUtf8(name, 40) +
                         "\" is not known; known: " + known);
    }
    for (const std::string_view pattern : entry->patterns) {
      if (!pattern.empty()) RILL_RETURN_IF_ERROR(add(pattern));
    }
    out.ignore_merges = (entry->flags & kIgnoreMerges) != 0;
    out.add_bos = (entry->flags & kAddBos) != 0;
    out.add_sep = (entry->flags & kAddSep) != 0;
  }
  PreTokenizerStep bytes;
  bytes.kind = PreTokenizerStep::Kind::kByteLevel;
  bytes.use_regex = false;
  out.steps.push_back(std::move(bytes));
  return out;
}

}  // namespace rill::text
