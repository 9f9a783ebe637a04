// tokenizer.json: normalizer, pre_tokenizer, decoder.

#include "base/utf8.h"
#include "text/base64.h"
#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

constexpr int kMaxSequenceDepth = 8;

Result<std::string> TypeOf(const Json& json, std::string_view what) {
  if (!json.is_object()) {
    return InvalidArgument(std::string(what) + ": expected an object, got " +
                           std::string(json.TypeName()));
  }
  RILL_ASSIGN_OR_RETURN(std::string type, json.GetString("type", ""));
  if (type.empty()) return InvalidArgument(std::string(what) + ": \"type\" is missing");
  return type;
}

// {"String": …} or {"Regex": …}, or a plain string (old files).
Result<std::shared_ptr<const PatternMatcher>> ReadPattern(const Json& json) {
  const Json* pattern = json.Find("pattern");
  if (!pattern) return InvalidArgument("pattern is missing");
  const Json* literal = pattern->is_string() ? pattern : pattern->Find("String");
  if (literal && literal->is_string()) {
    if (literal->string_value().empty()) return InvalidArgument("pattern is an empty string");
    return LiteralPattern(literal->string_value());
  }
  RILL_ASSIGN_OR_RETURN(std::string regex, pattern->GetString("Regex", ""));
  if (regex.empty()) return InvalidArgument("pattern: expected a String or a Regex");
  // tiktoken's cl100k pattern: its possessive {1,3}+ repeats in Oniguruma's syntax.
  constexpr std::string_view kDigits = R"(|\p{N}{1,3}+|)";
  if (const size_t at = regex.find(kDigits); at != std::string::npos) {
    regex.replace(at, kDigits.size(), R"(|\p{N}+|)");
  }
  return CompilePattern(regex);
}

Result<SplitBehavior> ReadBehavior(const Json& json, std::string_view fallback) {
  RILL_ASSIGN_OR_RETURN(const std::string name, json.GetString("behavior", fallback));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(
      "behavior: expected Removed, Isolated, MergedWithPrevious, "
      "MergedWithNext or Contiguous, got \"" +
      PrintableUtf8(name, 40) + "\"");
}

Result<PrependScheme> ReadScheme(const Json& json) {
  RILL_ASSIGN_OR_RETURN(const bool add, json.GetBool("add_prefix_space", true));
  RILL_ASSIGN_OR_RETURN(const std::string name,
                        json.GetString("prepend_scheme", add ? "always" : "never"));
  if (name == "always") return PrependScheme::kAlways;
  if (name == "never") return PrependScheme::kNever;
  if (name == "first") return PrependScheme::kFirst;
  return InvalidArgument("prepend_scheme: expected always, first or never, got \"" +
                         PrintableUtf8(name, 40) + "\"");
}

// Exactly one character.
Result<std::string> ReadRune(const Json& json, std::string_view key, std::string_view fallback) {
  RILL_ASSIGN_OR_RETURN(const std::string text, json.GetString(key, fallback));
  if (text.empty() || DecodeUtf8(text).size != text.size()) {
    return InvalidArgument(std::string(key) + ": expected one character, got \"" +
                           PrintableUtf8(text, 40) + "\"");
  }
  return text;
}

// Steps may lengthen a text, one after another: three that write 2,048 bytes for one make of a
// letter more than a memory holds. The product of what each can make of one byte is bounded at
// load, so that encoding and decoding stay linear. Released tokenizers reach 242 (ALBERT: NFKD 11,
// lower case 2, its character map 11).
constexpr double kMaxGrowth = 512;
constexpr size_t kMaxPrependBytes = 1024;

Status CheckGrowth(std::string_view what, double growth) {
  if (growth <= kMaxGrowth) return OkStatus();
  return InvalidArgument(std::string(what) + ": its steps can make " +
                         (growth < 1e15 ? std::to_string(static_cast<int64_t>(growth))
                                        : std::string("more than 10^15")) +
                         " bytes of one; at most 512 are allowed");
}

// Most bytes that a Replace step writes for one byte that it reads.
double GrowthOfReplace(const Json& json, const std::string& content) {
  const Json* pattern = json.Find("pattern");
  const Json* literal =
      pattern != nullptr && pattern->is_object() ? pattern->Find("String") : nullptr;
  const double shortest =
      literal != nullptr && literal->is_string() && !literal->string_value().empty()
          ? static_cast<double>(literal->string_value().size())
          : 1.0;  // a regular expression
  // An empty match inserts, beside the byte that follows it.
  const double kept = literal != nullptr ? 0.0 : 1.0;
  return std::max(1.0, static_cast<double>(content.size()) / shortest + kept);
}

Status AppendNormalizer(const Json& json, int depth, std::vector<NormalizerStep>& out,
                        double& growth) {
  using Kind = NormalizerStep::Kind;
  if (json.is_null()) return OkStatus();
  if (depth > kMaxSequenceDepth) return InvalidArgument("normalizer: Sequence nested too deeply");
  RILL_ASSIGN_OR_RETURN(const std::string type, TypeOf(json, "normalizer"));
  if (type == "Sequence") {
    const Json* list = json.Find("normalizers");
    if (!list || !list->is_array()) return InvalidArgument("normalizer: Sequence without a list");
    for (const Json& item : list->array()) {
      RILL_RETURN_IF_ERROR(AppendNormalizer(item, depth + 1, out, growth));
    }
    return OkStatus();
  }
  // Growth: utf8proc's longest decompositions (U+FDFA: 33 bytes of 3), rounded up.
  struct Plain {
    std::string_view name;
    Kind kind;
    double growth;
  };
  static constexpr Plain kPlain[] = {
      {"NFC", Kind::kNfc, 3},
      {"NFD", Kind::kNfd, 3},
      {"NFKC", Kind::kNfkc, 11},
      {"NFKD", Kind::kNfkd, 11},
      {"Lowercase", Kind::kLowercase, 2},
      {"StripAccents", Kind::kStripAccents, 1},
      {"Nmt", Kind::kNmt, 1},
      {"ByteLevel", Kind::kByteLevel, 2},
  };
  NormalizerStep step;
  for (const Plain& plain : kPlain) {
    if (type != plain.name) continue;
    step.kind = plain.kind;
    growth *= plain.growth;
    out.push_back(std::move(step));
    return OkStatus();
  }
  if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    RILL_ASSIGN_OR_RETURN(step.content, json.GetString("prepend", ""));
    if (step.content.size() > kMaxPrependBytes) {
      return InvalidArgument("normalizer Prepend: expected at most 1024 bytes, got " +
                             std::to_string(step.content.size()));
    }
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    RILL_ASSIGN_OR_RETURN(step.content, json.GetString("content", ""));
    RILL_ASSIGN_OR_RETURN(step.matcher, ReadPattern(json));
    growth *= GrowthOfReplace(json, step.content);
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    RILL_ASSIGN_OR_RETURN(step.left, json.GetBool("strip_left", true));
    RILL_ASSIGN_OR_RETURN(step.right, json.GetBool("strip_right", true));
  } else if (type == "BertNormalizer") {
    step.kind = Kind::kBert;
    growth *= 6;  // spaces around an ideograph, or lower case and NFD
    RILL_ASSIGN_OR_RETURN(step.clean_text, json.GetBool("clean_text", true));
    RILL_ASSIGN_OR_RETURN(step.chinese_chars, json.GetBool("handle_chinese_chars", true));
    RILL_ASSIGN_OR_RETURN(step.lowercase, json.GetBool("lowercase", true));
    RILL_ASSIGN_OR_RETURN(step.strip_accents, json.GetBool("strip_accents", step.lowercase));
  } else if (type == "Precompiled") {
    step.kind = Kind::kPrecompiled;
    RILL_ASSIGN_OR_RETURN(const std::string base64, json.GetString("precompiled_charsmap", ""));
    std::optional<std::string> blob = DecodeBase64(base64);
    if (!blob) return InvalidArgument("precompiled_charsmap is not base64");
    if (blob->empty()) return OkStatus();
    RILL_ASSIGN_OR_RETURN(step.charsmap, Charsmap::Parse(std::move(*blob)));
    growth *= step.charsmap->growth();
  } else {
    return Unsupported("normalizer \"" + PrintableUtf8(type, 40) + "\" is not known");
  }
  out.push_back(std::move(step));
  return OkStatus();
}

Status AppendPreTokenizer(const Json& json, int depth, std::vector<PreTokenizerStep>& out) {
  using Step = PreTokenizerStep;
  if (json.is_null()) return OkStatus();
  if (depth > kMaxSequenceDepth) {
    return InvalidArgument("pre_tokenizer: Sequence nested too deeply");
  }
  RILL_ASSIGN_OR_RETURN(const std::string type, TypeOf(json, "pre_tokenizer"));
  if (type == "Sequence") {
    const Json* list = json.Find("pretokenizers");
    if (!list || !list->is_array()) {
      return InvalidArgument("pre_tokenizer: Sequence without a list");
    }
    for (const Json& item : list->array()) {
      RILL_RETURN_IF_ERROR(AppendPreTokenizer(item, depth + 1, out));
    }
    return OkStatus();
  }
  Step step;
  if (type == "ByteLevel") {
    step.kind = Step::Kind::kByteLevel;
    RILL_ASSIGN_OR_RETURN(step.add_prefix_space, json.GetBool("add_prefix_space", true));
    RILL_ASSIGN_OR_RETURN(step.use_regex, json.GetBool("use_regex", true));
  } else if (type == "Split") {
    RILL_ASSIGN_OR_RETURN(step.matcher, ReadPattern(json));
    RILL_ASSIGN_OR_RETURN(step.behavior, ReadBehavior(json, "Isolated"));
    RILL_ASSIGN_OR_RETURN(step.invert, json.GetBool("invert", false));
  } else if (type == "Metaspace") {
    step.kind = Step::Kind::kMetaspace;
    RILL_ASSIGN_OR_RETURN(step.replacement, ReadRune(json, "replacement", "\xE2\x96\x81"));
    RILL_ASSIGN_OR_RETURN(step.prepend_scheme, ReadScheme(json));
    RILL_ASSIGN_OR_RETURN(step.split, json.GetBool("split", true));
  } else if (type == "Digits") {
    step.kind = Step::Kind::kSplitRunes;
    step.rune_class = Step::RuneClass::kNumber;
    RILL_ASSIGN_OR_RETURN(const bool individual, json.GetBool("individual_digits", false));
    step.behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  } else if (type == "Punctuation") {
    step.kind = Step::Kind::kSplitRunes;
    step.rune_class = Step::RuneClass::kPunctuation;
    RILL_ASSIGN_OR_RETURN(step.behavior, ReadBehavior(json, "Isolated"));
  } else if (type == "WhitespaceSplit") {
    step.kind = Step::Kind::kSplitRunes;
    step.behavior = SplitBehavior::kRemoved;
  } else if (type == "BertPreTokenizer") {
    step.kind = Step::Kind::kSplitRunes;
    step.behavior = SplitBehavior::kRemoved;
    out.push_back(step);
    step.rune_class = Step::RuneClass::kPunctuation;
    step.behavior = SplitBehavior::kIsolated;
  } else if (type == "Whitespace") {
    step.matcher = WordsPattern();
    step.behavior = SplitBehavior::kRemoved;
    step.invert = true;
  } else if (type == "CharDelimiterSplit") {
    step.kind = Step::Kind::kSplitRunes;
    step.rune_class = Step::RuneClass::kDelimiter;
    step.behavior = SplitBehavior::kRemoved;
    RILL_ASSIGN_OR_RETURN(const std::string delimiter, ReadRune(json, "delimiter", " "));
    step.delimiter = DecodeUtf8(delimiter).rune;
  } else if (type == "FixedLength") {
    step.kind = Step::Kind::kFixedLength;
    RILL_ASSIGN_OR_RETURN(const int64_t length, json.GetInt("length", 5));
    if (length < 1) return InvalidArgument("FixedLength: expected length >= 1");
    step.length = static_cast<size_t>(length);
  } else {
    return Unsupported("pre_tokenizer \"" + PrintableUtf8(type, 40) + "\" is not known");
  }
  out.push_back(std::move(step));
  return OkStatus();
}

Status AppendDecoder(const Json& json, int depth, std::vector<DecoderStep>& out, double& growth) {
  using Kind = DecoderStep::Kind;
  if (json.is_null()) return OkStatus();
  if (depth > kMaxSequenceDepth) return InvalidArgument("decoder: Sequence nested too deeply");
  RILL_ASSIGN_OR_RETURN(const std::string type, TypeOf(json, "decoder"));
  if (type == "Sequence") {
    const Json* list = json.Find("decoders");
    if (!list || !list->is_array()) return InvalidArgument("decoder: Sequence without a list");
    for (const Json& item : list->array()) {
      RILL_RETURN_IF_ERROR(AppendDecoder(item, depth + 1, out, growth));
    }
    return OkStatus();
  }
  DecoderStep step;
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    RILL_ASSIGN_OR_RETURN(step.replacement, ReadRune(json, "replacement", "\xE2\x96\x81"));
    RILL_ASSIGN_OR_RETURN(step.prepend_scheme, ReadScheme(json));
  } else if (type == "WordPiece") {
    step.kind = Kind::kWordPiece;
    RILL_ASSIGN_OR_RETURN(step.content, json.GetString("prefix", "##"));
    RILL_ASSIGN_OR_RETURN(step.cleanup, json.GetBool("cleanup", true));
  } else if (type == "BPEDecoder") {
    step.kind = Kind::kBpe;
    RILL_ASSIGN_OR_RETURN(step.content, json.GetString("suffix", "</w>"));
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    RILL_ASSIGN_OR_RETURN(step.content, ReadRune(json, "content", " "));
    RILL_ASSIGN_OR_RETURN(const int64_t start, json.GetInt("start", 0));
    RILL_ASSIGN_OR_RETURN(const int64_t stop, json.GetInt("stop", 0));
    if (start < 0 || stop < 0) return InvalidArgument("decoder Strip: negative start or stop");
    step.start = static_cast<size_t>(start);
    step.stop = static_cast<size_t>(stop);
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    RILL_ASSIGN_OR_RETURN(step.content, json.GetString("content", ""));
    RILL_ASSIGN_OR_RETURN(step.matcher, ReadPattern(json));
    growth *= GrowthOfReplace(json, step.content);
  } else if (type == "CTC") {
    step.kind = Kind::kCtc;
    RILL_ASSIGN_OR_RETURN(step.pad, json.GetString("pad_token", "<pad>"));
    RILL_ASSIGN_OR_RETURN(step.delimiter, json.GetString("word_delimiter_token", "|"));
    RILL_ASSIGN_OR_RETURN(step.cleanup, json.GetBool("cleanup", true));
  } else {
    return Unsupported("decoder \"" + PrintableUtf8(type, 40) + "\" is not known");
  }
  out.push_back(std::move(step));
  return OkStatus();
}

}  // namespace

Result<std::vector<NormalizerStep>> ReadNormalizer(const Json& json) {
  std::vector<NormalizerStep> steps;
  double growth = 1;
  RILL_RETURN_IF_ERROR(AppendNormalizer(json, 0, steps, growth));
  RILL_RETURN_IF_ERROR(CheckGrowth("normalizer", growth));
  return steps;
}
Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(const Json& json) {
  std::vector<PreTokenizerStep> steps;
  RILL_RETURN_IF_ERROR(AppendPreTokenizer(json, 0, steps));
  return steps;
}
Result<std::vector<DecoderStep>> ReadDecoder(const Json& json) {
  std::vector<DecoderStep> steps;
  double growth = 1;
  RILL_RETURN_IF_ERROR(AppendDecoder(json, 0, steps, growth));
  RILL_RETURN_IF_ERROR(CheckGrowth("decoder", growth));
  return steps;
}

}  // namespace rill::text
