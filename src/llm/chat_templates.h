// ChatTemplates: the chat templates of a model, compiled, and which of them renders a chat.
// Immutable; all methods from any thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "io/model_source.h"
#include "rill/llm.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace rill::llm {

inline constexpr std::string_view kDefaultTemplate = "default";
inline constexpr std::string_view kToolTemplate = "tool_use";

class ChatTemplates {
 public:
  // Finds and compiles those that a chat can choose. Errors: kNotFound when there is none;
  // kInvalidArgument when all that a chat could choose are malformed. These name the model's path.
  static Result<std::shared_ptr<const ChatTemplates>> Load(const io::ModelSource& source,
                                                           const text::Tokenizer& tokenizer);

  // As transformers chooses: with tools (not null; an empty array counts) "tool_use" if there is
  // one, else "default". Errors: kUnsupported, naming what there is, when the model has neither;
  // ChatTemplate's. None names a path: clients of a server are told them.
  Result<text::MarkedText> Render(const ChatInput& input) const;

  // Whether a chat without tools finds a template: Render's error, or ok.
  Status status() const;

  // The Jinja source that a chat without tools uses ("tool_use" where there is no other), and all
  // sources that a chat can use, one after another.
  std::string source() const;
  std::string all_sources() const;

 private:
  struct Compiled {
    std::string source;
    Result<std::shared_ptr<const text::ChatTemplate>> program;
  };
  Result<const text::ChatTemplate*> Choose(bool has_tools) const;

  std::string names_;
  std::map<std::string, Compiled, std::less<>> templates_;
  std::string bos_token_, eos_token_;  // empty: undefined
};

}  // namespace rill::llm
