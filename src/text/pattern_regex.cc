// Unknown pre-tokenizer patterns, run on PCRE2 with Unicode properties, JIT and limits.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/utf8.h"
#include "text/pattern_matcher.h"
#include "text/pattern_translate.h"
#include "text/rune_scan.h"

namespace rill::text {
namespace {

// Backtracking steps of one match, by the length of what is searched: patterns in use need a few
// steps a byte, a catastrophic one needs 2^n. So all matches of a text cost linear time at most.
constexpr uint64_t kStepsBase = 20'000;
constexpr uint64_t kStepsPerByte = 64;
constexpr uint64_t kMaxSteps = 1'000'000'000;
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackMax = 8 * 1024 * 1024;
constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr size_t kProbeRunes = 2000;

// Whether PCRE2 (10.40 or later) takes \p{sc:name}.
bool IsScript(std::string_view name) {
  const std::string pattern = "\\p{sc:" + std::string(name) + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Pcre2Matcher final : public PatternMatcher {
 public:
  explicit Pcre2Matcher(pcre2_code* code) : code_(code) {}
  ~Pcre2Matcher() override { pcre2_code_free(code_); }
  Pcre2Matcher(const Pcre2Matcher&) = delete;
  Pcre2Matcher& operator=(const Pcre2Matcher&) = delete;

  std::string_view name() const override { return "PCRE2"; }

  // When a limit is hit inside a text, the rest of that text counts as having no match: bounded
  // and defined. The self-test at load refuses patterns for which that would be ordinary.
  bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    return Run(text, from, begin, end) > 0;
  }

  // > 0: found; PCRE2_ERROR_NOMATCH; or another PCRE2 error.
  int Run(std::string_view text, size_t from, size_t& begin, size_t& end) const {
    Scratch& scratch = ThreadScratch();
    if (!scratch.data || !scratch.context) return PCRE2_ERROR_NOMEMORY;
    const uint64_t steps = std::min(kMaxSteps, kStepsBase + kStepsPerByte * (text.size() - from));
    pcre2_set_match_limit(scratch.context, static_cast<uint32_t>(steps));
    pcre2_set_depth_limit(scratch.context, kDepthLimit);
    pcre2_set_heap_limit(scratch.context, kHeapLimitKib);
    const int rc = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                               PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
    if (rc < 0) return rc;
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(scratch.data);
    begin = offsets[0];
    end = offsets[1];
    return begin <= end ? 1 : PCRE2_ERROR_NOMATCH;  // \K can turn them around
  }

 private:
  struct Scratch {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);
    Scratch() {
      if (context && stack) pcre2_jit_stack_assign(context, nullptr, stack);
    }
    ~Scratch() {
      pcre2_match_data_free(data);
      pcre2_match_context_free(context);
      pcre2_jit_stack_free(stack);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
  };
  static Scratch& ThreadScratch() {
    static thread_local Scratch scratch;
    return scratch;
  }

  pcre2_code* code_;
};

// Long runs of each kind of character that the pattern could care about, followed by one that it
// does not expect: what makes nested repetition explode.
Status SelfTest(const Pcre2Matcher& matcher, std::string_view regex) {
  std::set<char32_t> runes = {U'a', U'A', U'0', U' ', U'\n', U'!', U'\u00e9', U'\u4e2d'};
  for (size_t pos = 0; pos < regex.size() && runes.size() < 72;) {
    const ScannedRune r = ScanRune(regex, pos);
    runes.insert(r.rune);
    pos += r.size;
  }
  for (const char32_t rune : runes) {
    std::string probe;
    for (size_t i = 0; i < kProbeRunes; ++i) AppendUtf8(probe, rune);
    // The pattern itself as a tail has every character that a match must hold somewhere: without
    // it, the engine's quick checks would answer before the repetition is tried.
    for (const std::string& tail : {std::string(), "\x01" + std::string(regex)}) {
      const std::string text = probe + tail;
      size_t begin = 0;
      size_t end = 0;
      const int rc = matcher.Run(text, 0, begin, end);
      if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        return ResourceExhausted("pre-tokenizer pattern \"" + PrintableUtf8(regex, 80) +
                                 "\": a text of " + std::to_string(kProbeRunes) +
                                 " equal characters exceeds the match limit (catastrophic "
                                 "backtracking)");
      }
    }
  }
  return OkStatus();
}

class LiteralMatcher final : public PatternMatcher {
 public:
  explicit LiteralMatcher(std::string literal) : literal_(std::move(literal)) {}
  std::string_view name() const override { return "literal"; }
  bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    begin = text.find(literal_, from);
    end = begin + literal_.size();
    return begin != std::string_view::npos;
  }

 private:
  std::string literal_;
};

}  // namespace

namespace internal {

Result<std::shared_ptr<const PatternMatcher>> Pcre2Pattern(std::string_view regex) {
  if (regex.size() > kMaxPatternBytes) {
    return ResourceExhausted("pre-tokenizer pattern of " + std::to_string(regex.size()) +
                             " bytes, limit " + std::to_string(kMaxPatternBytes));
  }
  if (!IsValidUtf8(regex)) return InvalidArgument("pre-tokenizer pattern is not UTF-8");
  RILL_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(regex, IsScript));
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (!context) return ResourceExhausted("no memory for a pre-tokenizer pattern");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context, 4 * kMaxPatternBytes);
  pcre2_set_parens_nest_limit(context, 200);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: in Ruby syntax ^ and $ are line anchors.
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (!code) {
    PCRE2_UCHAR message[160] = {};
    pcre2_get_error_message(error, message, sizeof message);
    return InvalidArgument("pre-tokenizer pattern \"" + PrintableUtf8(regex, 80) +
                           "\": " + reinterpret_cast<const char*>(message));
  }
  // Without JIT (not supported by a platform) the interpreter runs under the same limits.
  (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  auto matcher = std::make_shared<Pcre2Matcher>(code);
  RILL_RETURN_IF_ERROR(SelfTest(*matcher, regex));
  return std::shared_ptr<const PatternMatcher>(matcher);
}

}  // namespace internal

std::shared_ptr<const PatternMatcher> LiteralPattern(std::string literal) {
  return std::make_shared<LiteralMatcher>(std::move(literal));
}

Result<std::shared_ptr<const PatternMatcher>> CompilePattern(std::string_view regex) {
  if (auto known = internal::KnownPattern(regex)) return known;
  if (auto run = internal::ClassRunPattern(regex)) return run;
  return internal::Pcre2Pattern(regex);
}

}  // namespace rill::text
