// Generation: one API request's prompts on their way through the text service, and their events on
// their way to the client.
//
// Before the first byte an error is an HTTP error; after it, an error event without [DONE]. When
// the client goes, everything of the request is cancelled. A batch of prompts is handed to the text
// service a window at a time, so that one request does not fill the queue; where others have filled
// it, the batch goes on as its own prompts end.
//
// Threads: Start on an I/O or worker thread; events come on the model's post-process thread.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "llm/text_service.h"
#include "server/http/message.h"
#include "server/http/responder.h"
#include "server/openai/answer_writer.h"
#include "server/server_state.h"

namespace rill::server {

struct GenerationJob {
  std::shared_ptr<const HttpRequest> http;
  std::shared_ptr<Responder> responder;
  std::shared_ptr<ServedModel> model;
  llm::TextRequest request;              // what all prompts share; n = best_of
  std::vector<llm::TextPrompt> prompts;  // at least one
  int32_t n = 1;                         // choices of each prompt that are answered
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool wants_prompt_logprobs = false;
  std::string param;  // field that an unfitting prompt is blamed on
  std::unique_ptr<openai::AnswerWriter> writer;
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Answers the request, now or later.
  static void Start(ServerState& state, GenerationJob job);
  ~Generation();

  Generation(ServerState& state, GenerationJob job);

 private:
  using Clock = std::chrono::steady_clock;
  struct Choice {
    openai::ChoiceText text;  // all of it; in a stream what is not sent yet
    Clock::time_point last_token;
    int32_t num_tokens = 0;
    double sum_logprob = 0;  // of best_of
    bool is_sent = false;    // its first piece
    bool ended = false;
  };
  struct Prompt {
    openai::PromptPart part;
    std::vector<Choice> choices;  // from when it is submitted; of a stream until it ended
    uint64_t handle = 0;
    Clock::time_point submitted, first_token;
    bool has_first_token = false;
    int32_t prompt_tokens = 0;
    bool ids_are_held = false;  // in held_
    bool ended = false;
  };

  // False when the answer failed because it does not fit.
  bool Hold(int64_t bytes);
  bool Take(AnswerBudget::Hold& hold, int64_t bytes);
  // What prompts and choices take before there is any text of them.
  int64_t BytesOfParts() const;
  int64_t BytesOfTokens(int64_t tokens, int64_t alternatives) const;
  // How often a prompt's part of the answer is in memory, and written at once.
  int64_t copies() const { return job_.stream ? 1 : job_.n; }
  // Takes what is known of the answer before anything is computed. False when it failed.
  bool HoldKnownPart();
  void HandleEvent(size_t prompt, const llm::TextEvent& event);
  // `replaces_ended`: from within the final event of one of its prompts.
  void SubmitMore(bool replaces_ended = false);
  // What prompt `index` asks of the text service; takes it out of the job.
  llm::TextRequest TakeRequest(size_t index);
  // Before the answer's end is handed over: who has it may use the id again. mutex_ held.
  void ReleaseId();
  void OnGone();
  void OnEvent(size_t prompt, const llm::TextEvent& event);
  void TakeTokens(Prompt& prompt, Choice& choice, const llm::TextEvent& event);
  void SendPiece(size_t prompt, int32_t choice_index, bool is_end);
  void Write(std::string event);
  void Fail(const ApiError& error, std::string_view reason);
  void CancelAll();
  void EndPrompt(Prompt& prompt, const llm::TextEvent& event);
  ApiError ErrorOf(const Status& status) const;
  void Refuse(const ApiError& error);  // and counts it
  void SendWhole();
  void EndStream();
  void RecordEnd(std::string_view outcome);

  ServerState& state_;
  GenerationJob job_;
  // Until the answer is sent: the responder keeps it, too.
  std::shared_ptr<AnswerBudget::Hold> held_;
  AnswerBudget::Hold parts_held_;  // of BytesOfParts and the stop strings: never sent
  const size_t window_;            // prompts in the text service at once, at most
  const Clock::time_point started_ = Clock::now();
  std::string client_id_;  // given by the client and active; "" otherwise

  // Guards all below. Recursive: a responder may find the client gone inside Write.
  std::recursive_mutex mutex_;
  std::vector<Prompt> prompts_;
  size_t next_prompt_ = 0;  // to submit
  size_t in_flight_ = 0;
  size_t num_ended_ = 0;
  openai::UsageTotals usage_;
  bool streaming_ = false;  // the head is sent
  bool done_ = false;       // answered, failed or gone
  bool submitting_ = false;
  double queue_ms_ = 0, first_token_ms_ = 0;
  FinishReason first_finish_ = FinishReason::kNone;  // of the first choice
  std::string finish_;
};

}  // namespace rill::server
