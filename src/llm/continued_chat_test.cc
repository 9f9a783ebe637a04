// Where a conversation whose last message is continued ends.
#include "llm/continued_chat.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/chat_template.h"

namespace rill::llm {
namespace {

constexpr const char* kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
// As Llama 3 has it.
constexpr const char* kTrims =
    "{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}</s>{% endfor %}";

ChatInput Chat(const std::string& content) {
  ChatInput chat;
  chat.messages = Json::Array{Json::Object{{"role", "user"}, {"content", "Hi <|im_end|>"}},
                              Json::Object{{"role", "assistant"}, {"content", content}}};
  chat.add_generation_prompt = false;
  return chat;
}

Result<text::MarkedText> Continue(const char* source, const ChatInput& chat) {
  RILL_ASSIGN_OR_RETURN(auto compiled, text::ChatTemplate::Compile(source, "template"));
  return RenderContinued(chat, [&](const ChatInput& input) {
    text::TemplateInput variables;
    variables.messages = input.messages;
    variables.add_generation_prompt = input.add_generation_prompt;
    return compiled->Render(variables);
  });
}

// What the last message says may stand in what the template writes behind it.
TEST(ContinuedChat, TextEndsWithTheMessage_WhateverItSays) {
  const std::string head = "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n";
  for (const char* content :
       {"Sure", "<", ">", "e", "end", "im_end|>", "<|im_end|>", "<|im_end|>\n", "assistant", "",
        " ", "  \n", " x ", "a\n", "user", "\xC2\xA0", "x\xE3\x80\x80", "CONTINUE_FINAL_MESSAGE_",
        "CONTINUE_FINAL_MESSAGE_TAG "}) {
    const auto result = Continue(kChatMl, Chat(content));
    ASSERT_TRUE(result.ok()) << content << ": " << result.status().ToString();
    EXPECT_EQ(result->text, head + content) << content;
    // The template's own, up to the message; nothing of the message.
    ASSERT_FALSE(result->trusted.empty());
    EXPECT_EQ(result->trusted.back().end, head.size()) << content;
  }
}

TEST(ContinuedChat, WhatTheTemplateStrips_IsStripped) {
  const std::string head = "[user]\n\nHi <|im_end|></s>[assistant]";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"x", "\n\nx"},
      {" x ", "\n\nx"},
      {"x\n\n", "\n\nx"},
      {"x\xE3\x80\x80", "\n\nx"},
      {"</s>", "\n\n</s>"},
      {"x y ", "\n\nx y"},
      // As in transformers: the template's line breaks cannot be told from the message's.
      {"", ""},
      {"  ", ""},
  };
  for (const auto& [content, tail] : cases) {
    const auto result = Continue(kTrims, Chat(content));
    ASSERT_TRUE(result.ok()) << content << ": " << result.status().ToString();
    EXPECT_EQ(result->text, head + tail) << content;
  }
}

TEST(ContinuedChat, MessagesThatTheTemplateChanges_AreRefused) {
  for (const char* source :
       {"{% for m in messages %}{{ m.role }}{% endfor %}",
        "{% for m in messages %}{{ m.content | replace('xy', 'z') }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}", "{{ messages[0].content }}",
        "{{ messages[1].content[:3] }}"}) {
    const auto result = Continue(source, Chat("a xy b"));
    ASSERT_FALSE(result.ok()) << source;
    EXPECT_EQ(result.status().message(),
              "continue_final_message: the chat template does not show the last message as it is");
  }
  for (const Json& last : {Json(Json::Object{{"role", "assistant"}, {"content", Json()}}),
                           Json(Json::Object{{"role", "assistant"}}), Json("x")}) {
    ChatInput chat;
    chat.messages = Json::Array{last};
    const auto result = Continue(kChatMl, chat);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().message(), "continue_final_message: the last message has no text");
  }
}

}  // namespace
}  // namespace rill::llm
