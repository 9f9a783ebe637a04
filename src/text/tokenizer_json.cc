// tokenizer.json of the Hugging Face `tokenizers` library: model, added tokens, post-processor.

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_files.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace rill::text {
namespace {

constexpr size_t kMaxSpacedRuleBytes = 1024;  // trying every space is quadratic

Status MissingObject(std::string_view what, const Json* got) {
  return InvalidArgument(std::string(what) + ": expected an object, got " +
                         std::string(got ? got->TypeName() : "nothing"));
}

Result<AddedToken> ReadAddedToken(const Json& json, int64_t id) {
  AddedToken token;
  if (!json.is_object()) return MissingObject("added token", &json);
  if (id < 0 || id >= kMaxVocabSize) {
    return InvalidArgument("added token: id " + std::to_string(id) + " is out of range");
  }
  token.id = static_cast<int32_t>(id);
  RILL_ASSIGN_OR_RETURN(token.text, json.GetString("content", ""));
  RILL_ASSIGN_OR_RETURN(token.single_word, json.GetBool("single_word", false));
  RILL_ASSIGN_OR_RETURN(token.lstrip, json.GetBool("lstrip", false));
  RILL_ASSIGN_OR_RETURN(token.rstrip, json.GetBool("rstrip", false));
  RILL_ASSIGN_OR_RETURN(token.special, json.GetBool("special", false));
  RILL_ASSIGN_OR_RETURN(token.normalized, json.GetBool("normalized", !token.special));
  return token;
}

// vocab as {"token": id}; then the added tokens that it does not hold.
Status FillVocab(const Json& entries, const std::vector<AddedToken>& added, Vocab& vocab) {
  size_t bytes = 0;
  const bool is_list = entries.is_array();  // Unigram: [["token", score], …], ids by position
  const size_t count = is_list ? entries.array().size() : entries.object().size();
  if (count + added.size() > static_cast<size_t>(kMaxVocabSize)) {
    return ResourceExhausted("model.vocab has " + std::to_string(count) + " entries, limit " +
                             std::to_string(kMaxVocabSize));
  }
  if (is_list) {
    for (const Json& entry : entries.array()) {
      if (!entry.is_array() || entry.array().size() != 2 || !entry.array()[0].is_string() ||
          !entry.array()[1].is_number()) {
        return InvalidArgument("model.vocab: expected [token, score] pairs");
      }
      bytes += entry.array()[0].string_value().size();
    }
  } else {
    for (const auto& [text, id] : entries.object()) {
      if (!id.FitsInt64()) {
        return InvalidArgument("model.vocab: token \"" + PrintableUtf8(text, 40) +
                               "\": expected an integer id, got " + std::string(id.TypeName()));
      }
      bytes += text.size();
    }
  }
  for (const AddedToken& token : added) bytes += token.text.size();
  vocab.Reserve(count + added.size(), bytes);
  if (is_list) {
    int32_t id = 0;
    for (const Json& entry : entries.array()) {
      RILL_RETURN_IF_ERROR(vocab.Add(id++, entry.array()[0].string_value()));
    }
  } else {
    for (const auto& [text, id] : entries.object()) {
      const int64_t value = id.int_value();
      if (value < 0 || value >= kMaxVocabSize) {
        return InvalidArgument("model.vocab: token \"" + PrintableUtf8(text, 40) + "\" has id " +
                               std::to_string(value) + ", expected [0, " +
                               std::to_string(kMaxVocabSize) + ")");
      }
      RILL_RETURN_IF_ERROR(vocab.Add(static_cast<int32_t>(value), text));
    }
  }
  for (const AddedToken& token : added) {
    if (vocab.Has(token.id)) continue;
    RILL_RETURN_IF_ERROR(vocab.Add(token.id, token.text));
    vocab.MarkAdded(token.id);
  }
  return OkStatus();
}

// "left right". Old files also have tokens with spaces inside: then the border is the first space
// that has a token on both sides and a joined one.
bool SplitRule(std::string_view rule, const Vocab& vocab, std::string_view& left,
               std::string_view& right) {
  const size_t first = rule.find(' ');
  if (first == std::string_view::npos) return false;
  const bool single = rule.find(' ', first + 1) == std::string_view::npos;
  if (!single && rule.size() > kMaxSpacedRuleBytes) return false;
  for (size_t space = first; space != std::string_view::npos; space = rule.find(' ', space + 1)) {
    left = rule.substr(0, space);
    right = rule.substr(space + 1);
    if (single) return true;
    if (vocab.Find(left) >= 0 && vocab.Find(right) >= 0 &&
        vocab.Find(std::string(left) + std::string(right)) >= 0) {
      return true;
    }
  }
  return false;
}

Status ReadMerges(const Json& json, const Vocab& vocab, size_t prefix_bytes, BpeMerges& merges) {
  const Json* list = json.Find("merges");
  if (!list || !list->is_array()) return InvalidArgument("model.merges: expected an array");
  merges.Reserve(list->array().size());
  std::string scratch;
  uint32_t rank = 0;
  for (const Json& rule : list->array()) {
    std::string_view left;
    std::string_view right;
    if (rule.is_array() && rule.array().size() == 2 && rule.array()[0].is_string() &&
        rule.array()[1].is_string()) {
      left = rule.array()[0].string_value();
      right = rule.array()[1].string_value();
    } else if (rule.is_string()) {
      if (!SplitRule(rule.string_value(), vocab, left, right)) {
        return InvalidArgument("model.merges[" + std::to_string(rank) +
                               "]: expected two tokens and one space, got \"" +
                               PrintableUtf8(rule.string_value(), 60) + "\"");
      }
    } else {
      return InvalidArgument("model.merges[" + std::to_string(rank) +
                             "]: expected a string or a pair of strings");
    }
    RILL_RETURN_IF_ERROR(AddMerge(vocab, left, right, prefix_bytes, rank, scratch, merges));
    ++rank;
  }
  return OkStatus();
}

Status ReadBpe(const Json& json, bool raw_bytes, TokenizerParts& parts) {
  BpeOptions options;
  options.raw_bytes = raw_bytes;
  RILL_ASSIGN_OR_RETURN(options.fuse_unk, json.GetBool("fuse_unk", false));
  RILL_ASSIGN_OR_RETURN(options.byte_fallback, json.GetBool("byte_fallback", false));
  RILL_ASSIGN_OR_RETURN(options.ignore_merges, json.GetBool("ignore_merges", false));
  RILL_ASSIGN_OR_RETURN(options.continuing_prefix, json.GetString("continuing_subword_prefix", ""));
  RILL_ASSIGN_OR_RETURN(options.end_suffix, json.GetString("end_of_word_suffix", ""));
  RILL_ASSIGN_OR_RETURN(const std::string unk, json.GetString("unk_token", ""));
  if (!unk.empty()) options.unk_id = parts.vocab->Find(unk);
  BpeMerges merges;
  RILL_RETURN_IF_ERROR(ReadMerges(json, *parts.vocab, options.continuing_prefix.size(), merges));
  parts.model = MakeBpe(*parts.vocab, std::move(merges), std::move(options));
  return OkStatus();
}

Status ReadUnigram(const Json& json, TokenizerParts& parts) {
  const Json* entries = json.Find("vocab");
  UnigramOptions options;
  options.look_up_unknown_runs = true;
  RILL_ASSIGN_OR_RETURN(options.byte_fallback, json.GetBool("byte_fallback", false));
  RILL_ASSIGN_OR_RETURN(const int64_t unk_id, json.GetInt("unk_id", -1));
  if (unk_id >= static_cast<int64_t>(entries->array().size())) {
    return InvalidArgument("model.unk_id " + std::to_string(unk_id) +
                           ": expected less than the vocabulary's " +
                           std::to_string(entries->array().size()));
  }
  options.unk_id = unk_id < 0 ? -1 : static_cast<int32_t>(unk_id);
  const auto count = static_cast<size_t>(parts.vocab->size());
  options.scores.assign(count, 0);
  options.active.assign(count, false);
  options.min_score = std::numeric_limits<double>::infinity();
  size_t id = 0;
  for (const Json& entry : entries->array()) {
    options.scores[id] = entry.array()[1].number_value();
    options.active[id] = true;
    options.min_score = std::min(options.min_score, options.scores[id]);
    ++id;
  }
  if (id == 0) return InvalidArgument("model.vocab is empty");
  RILL_ASSIGN_OR_RETURN(parts.model, MakeUnigram(*parts.vocab, std::move(options)));
  return OkStatus();
}

Result<std::string> ModelType(const Json& json) {
  RILL_ASSIGN_OR_RETURN(std::string type, json.GetString("type", ""));
  if (!type.empty()) return type;
  // Old files have no type: told apart by their fields.
  if (json.Find("merges")) return std::string("BPE");
  if (json.Find("unk_id")) return std::string("Unigram");
  if (json.Find("continuing_subword_prefix")) return std::string("WordPiece");
  return std::string("WordLevel");
}

// One item of a TemplateProcessing list, or a [name, id] pair: its ids; empty for the text itself.
Status AppendTemplateItem(const Json& item, const Json* special_tokens, bool& is_sequence,
                          std::vector<int32_t>& ids) {
  is_sequence = item.Find("Sequence") != nullptr;
  if (is_sequence) return OkStatus();
  const Json* special = item.Find("SpecialToken");
  if (!special) return InvalidArgument("post_processor: expected Sequence or SpecialToken");
  RILL_ASSIGN_OR_RETURN(const std::string name, special->GetString("id", ""));
  const Json* entry = special_tokens ? special_tokens->Find(name) : nullptr;
  const Json* list = entry ? entry->Find("ids") : nullptr;
  if (!list || !list->is_array()) {
    return InvalidArgument("post_processor: special token \"" + PrintableUtf8(name, 40) +
                           "\" has no ids");
  }
  for (const Json& id : list->array()) {
    if (!id.FitsInt64() || id.int_value() < 0 || id.int_value() >= kMaxVocabSize) {
      return InvalidArgument("post_processor: id of \"" + PrintableUtf8(name, 40) +
                             "\" is out of range");
    }
    ids.push_back(static_cast<int32_t>(id.int_value()));
  }
  return OkStatus();
}

Status ReadPair(const Json& json, std::string_view key, std::vector<int32_t>& ids) {
  const Json* pair = json.Find(key);
  if (!pair || !pair->is_array() || pair->array().size() != 2 || !pair->array()[1].FitsInt64() ||
      pair->array()[1].int_value() < 0 || pair->array()[1].int_value() >= kMaxVocabSize) {
    return InvalidArgument("post_processor." + std::string(key) + ": expected [token, id]");
  }
  ids.push_back(static_cast<int32_t>(pair->array()[1].int_value()));
  return OkStatus();
}

Status ReadPostProcessor(const Json& json, int depth, TokenizerParts& parts) {
  if (json.is_null()) return OkStatus();
  if (!json.is_object()) return MissingObject("post_processor", &json);
  RILL_ASSIGN_OR_RETURN(const std::string type, json.GetString("type", ""));
  if (type == "ByteLevel") return OkStatus();  // moves offsets only
  if (type == "Sequence") {
    const Json* list = json.Find("processors");
    if (!list || !list->is_array() || depth > 8) {
      return InvalidArgument("post_processor: Sequence without a list, or nested too deeply");
    }
    for (const Json& item : list->array()) {
      RILL_RETURN_IF_ERROR(ReadPostProcessor(item, depth + 1, parts));
    }
    return OkStatus();
  }
  // A later processor wraps what the earlier ones made.
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    RILL_RETURN_IF_ERROR(ReadPair(json, "cls", before));
    RILL_RETURN_IF_ERROR(ReadPair(json, "sep", after));
  } else if (type == "TemplateProcessing") {
    const Json* single = json.Find("single");
    if (!single || !single->is_array()) {
      return InvalidArgument("post_processor.single: expected an array");
    }
    bool seen = false;
    for (const Json& item : single->array()) {
      bool is_sequence = false;
      RILL_RETURN_IF_ERROR(AppendTemplateItem(item, json.Find("special_tokens"), is_sequence,
                                              seen ? after : before));
      if (is_sequence && seen) {
        return Unsupported("post_processor.single holds the text twice");
      }
      seen = seen || is_sequence;
    }
    if (!seen) return Unsupported("post_processor.single does not hold the text");
  } else {
    return Unsupported("post_processor \"" + PrintableUtf8(type, 40) + "\" is not known");
  }
  parts.prefix_ids.insert(parts.prefix_ids.begin(), before.begin(), before.end());
  parts.suffix_ids.insert(parts.suffix_ids.end(), after.begin(), after.end());
  return OkStatus();
}

// byte_fallback with a vocabulary that lacks some of the 256 stand-ins of ByteLevel.
bool FallsBackOnBytes(const Json& model) {
  const Json* fallback = model.Find("byte_fallback");
  const Json* vocab = model.Find("vocab");
  if (!fallback || !fallback->is_bool() || !fallback->bool_value()) return false;
  if (!vocab || !vocab->is_object()) return false;
  for (int byte = 0; byte < 256; ++byte) {
    std::string stand_in;
    AppendUtf8(stand_in, ByteToRune(static_cast<unsigned char>(byte)));
    if (!vocab->Find(stand_in)) return true;
  }
  return false;
}

Json Member(const Json& json, std::string_view key) {
  const Json* member = json.Find(key);
  return member ? *member : Json();
}

Result<std::shared_ptr<const Tokenizer>> Build(const Json& json, const TokenizerSideFiles& side) {
  TokenizerParts parts;
  if (const Json* added = json.Find("added_tokens"); added && added->is_array()) {
    for (const Json& item : added->array()) {
      RILL_ASSIGN_OR_RETURN(const int64_t id, item.GetInt("id", -1));
      RILL_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(item, id));
      parts.added.push_back(std::move(token));
    }
  }
  const Json* model = json.Find("model");
  if (!model || !model->is_object()) return MissingObject("model", model);
  RILL_ASSIGN_OR_RETURN(auto normalizer, ReadNormalizer(Member(json, "normalizer")));
  RILL_ASSIGN_OR_RETURN(auto steps, ReadPreTokenizer(Member(json, "pre_tokenizer")));
  RILL_ASSIGN_OR_RETURN(auto decoder, ReadDecoder(Member(json, "decoder")));
  RILL_ASSIGN_OR_RETURN(const std::string type, ModelType(*model));
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  const auto text_or_null = [&](std::string_view key) {
    const Json* value = model->Find(key);
    return value && value->is_string() && !value->string_value().empty();
  };
  const bool plain =
      !text_or_null("continuing_subword_prefix") && !text_or_null("end_of_word_suffix");
  // Without mapping, a byte that has no token could not fall back on the bytes of its stand-in.
  const bool skip_mapping =
      type == "BPE" && parts.pre_tokenizer.EndsInByteLevel() && plain && !FallsBackOnBytes(*model);
  if (skip_mapping) parts.pre_tokenizer.SkipByteMapping();
  RILL_RETURN_IF_ERROR(ReadModel(*model, skip_mapping, parts));
  parts.normalizer = Normalizer(std::move(normalizer));
  parts.decoder = TokenDecoder(std::move(decoder));
  RILL_RETURN_IF_ERROR(ReadPostProcessor(Member(json, "post_processor"), 0, parts));
  parts.kind = (skip_mapping ? "byte-level " : "") + type + " (tokenizer.json)";
  ApplySideFiles(side, parts);
  return MakePipelineTokenizer(std::move(parts));
}

}  // namespace

Status AddMerge(const Vocab& vocab, std::string_view left, std::string_view right,
                size_t prefix_bytes, uint32_t rank, std::string& scratch, BpeMerges& merges) {
  const int32_t left_id = vocab.Find(left);
  const int32_t right_id = vocab.Find(right);
  scratch = left;
  scratch += right.substr(std::min(prefix_bytes, right.size()));
  const int32_t merged = vocab.Find(scratch);
  if (left_id < 0 || right_id < 0 || merged < 0) {
    const std::string_view missing = left_id < 0 ? left : right_id < 0 ? right : scratch;
    return InvalidArgument("merge " + std::to_string(rank) + ": token \"" +
                           PrintableUtf8(missing, 40) + "\" is not in the vocabulary");
  }
  merges.Set(left_id, right_id, rank, merged);
  return OkStatus();
}

Status ReadModel(const Json& json, bool raw_bytes, TokenizerParts& parts) {
  RILL_ASSIGN_OR_RETURN(const std::string type, ModelType(json));
  const Json* entries = json.Find("vocab");
  const bool want_list = type == "Unigram";
  if (!entries || (want_list ? !entries->is_array() : !entries->is_object())) {
    return InvalidArgument("model.vocab: expected " +
                           std::string(want_list ? "an array" : "an object") + ", got " +
                           std::string(entries ? entries->TypeName() : "nothing"));
  }
  parts.vocab = std::make_unique<Vocab>();
  RILL_RETURN_IF_ERROR(FillVocab(*entries, parts.added, *parts.vocab));
  if (parts.vocab->size() == 0) return InvalidArgument("model.vocab is empty");
  if (type == "BPE") return ReadBpe(json, raw_bytes, parts);
  if (type == "Unigram") return ReadUnigram(json, parts);
  RILL_ASSIGN_OR_RETURN(const std::string unk, json.GetString("unk_token", "[UNK]"));
  if (type == "WordLevel") {
    parts.model = MakeWordLevel(*parts.vocab, parts.vocab->Find(unk));
    return OkStatus();
  }
  if (type != "WordPiece") {
    return Unsupported("model type \"" + PrintableUtf8(type, 40) +
                       "\": expected BPE, Unigram, WordPiece or WordLevel");
  }
  WordPieceOptions options;
  options.unk_id = parts.vocab->Find(unk);
  RILL_ASSIGN_OR_RETURN(options.continuing_prefix,
                        json.GetString("continuing_subword_prefix", "##"));
  RILL_ASSIGN_OR_RETURN(const int64_t limit, json.GetInt("max_input_chars_per_word", 100));
  if (limit < 0) return InvalidArgument("model.max_input_chars_per_word is negative");
  options.max_word_runes = static_cast<size_t>(limit);
  parts.model = MakeWordPiece(*parts.vocab, std::move(options));
  return OkStatus();
}

Result<std::vector<AddedToken>> ReadAddedTokensDecoder(const Json& config) {
  std::vector<AddedToken> out;
  const Json* tokens = config.Find("added_tokens_decoder");
  if (!tokens || tokens->is_null()) return out;
  if (!tokens->is_object()) {
    return InvalidArgument("added_tokens_decoder: expected an object, got " +
                           std::string(tokens->TypeName()));
  }
  for (const auto& [key, value] : tokens->object()) {
    int64_t id = 0;
    for (const char c : key) {
      if (c < '0' || c > '9' || id > kMaxVocabSize) {
        return InvalidArgument("added_tokens_decoder: expected a number as key, got \"" +
                               PrintableUtf8(key, 40) + "\"");
      }
      id = id * 10 + (c - '0');
    }
    RILL_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(value, id));
    out.push_back(std::move(token));
  }
  return out;
}

Result<std::shared_ptr<const Tokenizer>> LoadTokenizerJson(std::string_view text,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side) {
  RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(text, culprit));
  auto tokenizer = Build(json, side);
  if (!tokenizer.ok()) return tokenizer.status().WithPrefix(culprit);
  return tokenizer;
}

}  // namespace rill::text
