#include "text/token_decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/rune_scan.h"
#include "text/token_model.h"

namespace rill::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kLowerLine = "\xE2\x96\x81";

// A machine between two others. Owned by the stream; `next` is set once.
class Stage {
 public:
  virtual ~Stage() = default;
  virtual void Push(int32_t id, std::string_view token) = 0;
  virtual void Finish() { next->Finish(); }
  Stage* next = nullptr;
};

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  size_t pos = text.find(from);
  if (pos == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; pos != std::string::npos; pos = text.find(from, done)) {
    out.append(text, done, pos - done);
    out += to;
    done = pos + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

// The clean-up of English spacing that old word-piece models ask for, in the reference's order.
void CleanUp(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) ReplaceAll(text, from, to);
}

class ByteLevelStage final : public Stage {
 public:
  void Push(int32_t id, std::string_view token) override {
    std::string bytes;
    if (!AppendFromByteLevel(bytes, token)) bytes = token;
    next->Push(id, bytes);
  }
};

class MetaspaceStage final : public Stage {
 public:
  explicit MetaspaceStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    std::string text(token);
    const bool drop = first_ && step_.prepend_scheme != PrependScheme::kNever;
    ReplaceAll(text, step_.replacement, drop ? "" : " ");
    first_ = false;
    next->Push(id, text);
  }

 private:
  const DecoderStep& step_;
  bool first_ = true;
};

class WordPieceStage final : public Stage {
 public:
  explicit WordPieceStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    std::string text;
    if (first_) {
      text = token;
    } else if (token.starts_with(step_.content)) {
      text = token.substr(step_.content.size());
    } else {
      text = " ";
      text += token;
    }
    first_ = false;
    if (step_.cleanup) CleanUp(text);
    next->Push(id, text);
  }

 private:
  const DecoderStep& step_;
  bool first_ = true;
};

// The suffix becomes a space, but not after the last token: one token is held back.
class BpeStage final : public Stage {
 public:
  explicit BpeStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    Release(" ");
    held_ = token;
    held_id_ = id;
    holding_ = true;
  }
  void Finish() override {
    Release("");
    next->Finish();
  }

 private:
  void Release(std::string_view instead) {
    if (!holding_) return;
    if (!step_.content.empty()) ReplaceAll(held_, step_.content, instead);
    next->Push(held_id_, held_);
    holding_ = false;
  }
  const DecoderStep& step_;
  std::string held_;
  int32_t held_id_ = -1;
  bool holding_ = false;
};

class ByteFallbackStage final : public Stage {
 public:
  void Push(int32_t id, std::string_view token) override {
    const int byte = ParseByteToken(token);
    if (byte >= 0) {
      run_ += static_cast<char>(byte);
      return;
    }
    Flush();
    next->Push(id, token);
  }
  void Finish() override {
    Flush();
    next->Finish();
  }

 private:
  void Flush() {
    if (run_.empty()) return;
    if (IsValidUtf8(run_)) {
      next->Push(-1, run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) next->Push(-1, kReplacement);
    }
    run_.clear();
  }
  std::string run_;
};

// Joins everything that is still to come into one token; for steps that must see the whole text.
class BufferStage final : public Stage {
 public:
  void Push(int32_t, std::string_view token) override { text_ += token; }
  void Finish() override {
    next->Push(-1, text_);
    next->Finish();
  }

 private:
  std::string text_;
};

class StripStage final : public Stage {
 public:
  StripStage(const DecoderStep& step, bool fused) : step_(step), fused_(fused) {}
  void Push(int32_t id, std::string_view token) override {
    const std::string_view content = step_.content;
    if (!fused_ || !started_) left_ = step_.start;
    started_ = true;
    while (left_ > 0 && !token.empty()) {
      if (!token.starts_with(content)) {
        left_ = 0;
        break;
      }
      token.remove_prefix(content.size());
      --left_;
    }
    for (size_t i = 0; i < step_.stop && token.ends_with(content); ++i) {
      token.remove_suffix(content.size());
    }
    next->Push(id, token);
  }

 private:
  const DecoderStep& step_;
  bool fused_;
  bool started_ = false;
  size_t left_ = 0;
};

class ReplaceStage final : public Stage {
 public:
  explicit ReplaceStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    std::string out;
    size_t done = 0;
    size_t from = 0;
    size_t begin = 0;
    size_t end = 0;
    while (from <= token.size() && step_.matcher->Find(token, from, begin, end)) {
      out += token.substr(done, begin - done);
      out += step_.content;
      done = end;
      if (end > begin) {
        from = end;
      } else {
        if (end >= token.size()) break;
        from = end + ScanRune(token, end).size;
      }
    }
    out += token.substr(done);
    next->Push(id, out);
  }

 private:
  const DecoderStep& step_;
};

class CtcStage final : public Stage {
 public:
  explicit CtcStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    if (started_ && token == last_) return;
    started_ = true;
    last_ = token;
    std::string text(token);
    if (!step_.pad.empty()) ReplaceAll(text, step_.pad, "");
    if (step_.cleanup) {
      CleanUp(text);
      if (!step_.delimiter.empty()) ReplaceAll(text, step_.delimiter, " ");
    }
    if (!text.empty()) next->Push(id, text);
  }

 private:
  const DecoderStep& step_;
  std::string last_;
  bool started_ = false;
};

class SentencePieceStage final : public Stage {
 public:
  explicit SentencePieceStage(const DecoderStep& step) : step_(step) {}
  void Push(int32_t id, std::string_view token) override {
    const SpmPieceType type = id >= 0 && static_cast<size_t>(id) < step_.piece_types.size()
                                  ? step_.piece_types[static_cast<size_t>(id)]
                                  : SpmPieceType::kNormal;
    switch (type) {
      case SpmPieceType::kControl: next->Push(id, token); return;  // text starts after it
      case SpmPieceType::kUnknown: Emit(id, step_.content); return;
      case SpmPieceType::kByte: {
        const char byte = static_cast<char>(ParseByteToken(token));
        Emit(id, std::string_view(&byte, 1));
        return;
      }
      default: break;
    }
    bool stripped = false;
    if (at_start_ && step_.strip_leading_space && token.starts_with(kLowerLine)) {
      token.remove_prefix(kLowerLine.size());
      stripped = !step_.strip_all_leading_space;
    }
    std::string text(token);
    ReplaceAll(text, kLowerLine, " ");
    if (stripped) at_start_ = false;
    Emit(id, text);
  }

 private:
  void Emit(int32_t id, std::string_view text) {
    if (!text.empty()) at_start_ = false;
    next->Push(id, text);
  }
  const DecoderStep& step_;
  bool at_start_ = true;
};

class JoinStage final : public Stage {  // no decoder at all: tokens joined by spaces
 public:
  void Push(int32_t id, std::string_view token) override {
    if (!first_) next->Push(-1, " ");
    first_ = false;
    next->Push(id, token);
  }

 private:
  bool first_ = true;
};

// The end of the chain: bytes to whole characters, ill-formed ones to U+FFFD.
class Utf8Stage final : public Stage {
 public:
  void Push(int32_t, std::string_view bytes) override {
    held_ += bytes;
    const size_t keep = IncompleteUtf8Suffix(held_);
    AppendLossy(std::string_view(held_).substr(0, held_.size() - keep));
    held_.erase(0, held_.size() - keep);
  }
  void Finish() override {
    AppendLossy(held_);
    held_.clear();
  }
  std::string* out = nullptr;

 private:
  void AppendLossy(std::string_view bytes) {
    while (!bytes.empty()) {
      const DecodedRune rune = DecodeUtf8(bytes);
      *out += rune.valid ? bytes.substr(0, rune.size) : kReplacement;
      bytes.remove_prefix(rune.size);
    }
  }
  std::string held_;
};

class ChainStream final : public DecodeStream {
 public:
  explicit ChainStream(const std::vector<DecoderStep>& steps) {
    using Kind = DecoderStep::Kind;
    if (steps.empty()) Add(std::make_unique<JoinStage>());
    bool fused = false;
    for (const DecoderStep& step : steps) {
      if (step.kind == Kind::kFuse) {
        fused = true;
        continue;
      }
      const bool streams_fused =
          step.kind == Kind::kByteLevel || (step.kind == Kind::kStrip && step.stop == 0);
      if (fused && !streams_fused) {
        Add(std::make_unique<BufferStage>());
        fused = false;  // from here on there is exactly one token
      }
      switch (step.kind) {
        case Kind::kByteLevel:
          Add(std::make_unique<ByteLevelStage>());
          fused = true;
          break;
        case Kind::kMetaspace: Add(std::make_unique<MetaspaceStage>(step)); break;
        case Kind::kWordPiece: Add(std::make_unique<WordPieceStage>(step)); break;
        case Kind::kBpe: Add(std::make_unique<BpeStage>(step)); break;
        case Kind::kByteFallback: Add(std::make_unique<ByteFallbackStage>()); break;
        case Kind::kFuse: break;
        case Kind::kStrip: Add(std::make_unique<StripStage>(step, fused)); break;
        case Kind::kReplace: Add(std::make_unique<ReplaceStage>(step)); break;
        case Kind::kCtc: Add(std::make_unique<CtcStage>(step)); break;
        case Kind::kSentencePiece: Add(std::make_unique<SentencePieceStage>(step)); break;
      }
    }
    auto last = std::make_unique<Utf8Stage>();
    last_ = last.get();
    Add(std::move(last));
  }
  void Push(int32_t id, std::string_view token_text, std::string& out) override {
    last_->out = &out;
    stages_.front()->Push(id, token_text);
  }
  void Finish(std::string& out) override {
    last_->out = &out;
    stages_.front()->Finish();
  }

 private:
  void Add(std::unique_ptr<Stage> stage) {
    if (!stages_.empty()) stages_.back()->next = stage.get();
    stages_.push_back(std::move(stage));
  }
  std::vector<std::unique_ptr<Stage>> stages_;
  Utf8Stage* last_ = nullptr;
};

}  // namespace

std::unique_ptr<DecodeStream> TokenDecoder::Start() const {
  return std::make_unique<ChainStream>(steps_);
}

std::string TokenDecoder::TokenBytes(int32_t id, std::string_view token_text) const {
  using Kind = DecoderStep::Kind;
  std::string text(token_text);
  for (const DecoderStep& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel: {
        std::string bytes;
        if (AppendFromByteLevel(bytes, text)) text = std::move(bytes);
        break;
      }
      case Kind::kMetaspace: ReplaceAll(text, step.replacement, " "); break;
      case Kind::kWordPiece:
        text = text.starts_with(step.content) ? text.substr(step.content.size()) : " " + text;
        break;
      case Kind::kBpe:
        if (!step.content.empty()) ReplaceAll(text, step.content, " ");
        break;
      case Kind::kByteFallback:
        if (const int byte = ParseByteToken(text); byte >= 0) text = static_cast<char>(byte);
        break;
      case Kind::kReplace: {
        size_t begin = 0;
        size_t end = 0;
        std::string out;
        size_t done = 0;
        while (done < text.size() && step.matcher->Find(text, done, begin, end) && end > begin) {
          out += text.substr(done, begin - done) + step.content;
          done = end;
        }
        text = out + text.substr(done);
        break;
      }
      case Kind::kSentencePiece: {
        const size_t index = static_cast<size_t>(std::max(id, 0));
        const SpmPieceType type =
            index < step.piece_types.size() ? step.piece_types[index] : SpmPieceType::kNormal;
        if (type == SpmPieceType::kByte) {
          text = static_cast<char>(ParseByteToken(text));
        } else if (type == SpmPieceType::kUnknown) {
          text = step.content;
        } else {
          ReplaceAll(text, kLowerLine, " ");
        }
        break;
      }
      case Kind::kFuse:
      case Kind::kStrip:
      case Kind::kCtc: break;
    }
  }
  return text;
}

}  // namespace rill::text
