// Load test of a server with OpenAI's API: requests in, times of every token out.
//
// The four metrics, measured by the client:
//   throughput           output tokens per second; at saturation when all requests arrive together
//                        with identical lengths (arrival kTogether)
//   first-token latency  time until a request's first token; for requests that arrive together, the
//                        time until the last of them has its first token (the batch's prefill)
//   latency              time between one token of a request and the next: a decode step
//   QPS                  completed requests per second
//
// Times run from the moment a request should have been sent, by its arrival time, not from when the
// client got round to it: a server that stalls is charged for the requests it kept waiting.
// Percentiles are over all samples of a kind (all gaps of all requests), linearly interpolated
// between ranks, as numpy.percentile does.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "rill/json.h"
#include "rill/status.h"

namespace rill {

struct LoadRequest {
  double arrival_s = 0;  // since the start; for kTrace
  std::string prompt;
  int32_t max_tokens = 16;
  // > 0: the prompt is MakePromptText of so many tokens and the request's number instead, made when
  // it is sent: ten million requests need no memory for their texts.
  int32_t prompt_tokens = 0;
};
constexpr int32_t kMaxMadeUpTokens = 1 << 20;  // of one prompt of the readers below

enum class Arrival : uint8_t {
  kClosed,    // `concurrency` clients, each sends its next request when the last one has ended
  kTogether,  // all at once
  kPoisson,   // independent arrivals at `rate` per second
  kTrace,     // at LoadRequest::arrival_s / speed
};

struct LoadTestOptions {
  std::string url = "http://127.0.0.1:8080";  // http or https, with or without a path such as /v1
  std::string api_key;
  std::string model;       // "": the first of GET /v1/models
  bool chat = false;       // /v1/chat/completions, else /v1/completions
  bool ignore_eos = true;  // exactly max_tokens, so that servers do the same work
  double temperature = 0;
  std::string extra_body;     // a JSON object merged into each request
  bool insecure_tls = false;  // accept any certificate

  Arrival arrival = Arrival::kClosed;
  int32_t concurrency = 32;  // kClosed; for the others the most at once, 0 = no limit
  double rate = 1;           // kPoisson, requests per second
  double speed = 1;          // kTrace: 2 = twice as fast as recorded
  uint64_t seed = 1;         // of the arrivals
  double request_timeout_s = 600;
  std::vector<LoadRequest> requests;
  // > 0: made-up tokens before every prompt, num_prefixes different texts in turn.
  int32_t prefix_tokens = 0, num_prefixes = 1;
};

// One request as the client saw it. Times in seconds since the start of the test.
struct LoadSample {
  double arrival_s = 0;  // when it should have been sent
  double end_s = 0;
  std::vector<double> events_s;  // arrival of each piece of text: one token, or a few together
  int64_t output_tokens = 0;     // of the server's usage; the number of pieces without it
  int64_t prompt_tokens = 0;
  int32_t sent_again = 0;  // how often, on a new connection: LoadReport's
  std::string error;       // "": completed
};

// Mean and percentiles of a kind of time, in milliseconds. Without samples all are NaN (null).
struct LoadTimes {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
  size_t samples = 0;
};
LoadTimes SummarizeTimes(std::vector<double> seconds);

struct LoadReport {
  std::vector<LoadSample> samples;  // in the order of the requests
  int64_t requests = 0, failed = 0;
  bool cancelled = false;  // some were not sent, or dropped
  double duration_s = 0;   // first arrival to last end
  double requests_per_s = 0, output_tokens_per_s = 0;
  LoadTimes ttft_ms, itl_ms, e2e_ms;
  double batch_first_token_ms = 0;  // until the last request had its first token
  int64_t prompt_tokens = 0, output_tokens = 0;
  std::map<std::string, int64_t> errors;  // reason → how often
  // A kept connection that ends before a byte of the answer may have been closed before the request
  // came: it is sent again, as HTTP clients do. How often that was.
  int64_t sent_again = 0;

  // {"requests", "failed", "requests_per_s", "output_tokens_per_s",
  //  "ttft_ms": {"mean","p50","p99"}, "itl_ms": {…}, "e2e_ms": {…}}, and when requests failed
  //  "errors": {reason: how often, …}. When some were sent again, "sent_again".
  Json ToJson() const;
  // A line for each reason, the most frequent first; "" when nothing failed.
  std::string ErrorsText() const;
  // The same and more for people.
  std::string ToText() const;
  // A picture: tokens per second over time, and the distributions of the three times.
  std::string ToSvg(const std::string& title) const;
  // One JSON object a line for each request, with all its times.
  std::string DetailsJsonLines() const;
};
LoadReport MakeLoadReport(std::vector<LoadSample> samples);

// `progress(done, total)` is called now and then on the calling thread. Blocks until all requests
// have ended; `cancel` set to true ends those that have not begun and drops the others (they count
// as failed). Fails when the server cannot be reached or names no model, and when memory ends.
Result<LoadReport> RunLoadTest(const LoadTestOptions& options,
                               const std::function<void(int64_t, int64_t)>& progress = {},
                               const std::atomic<bool>* cancel = nullptr);

// Requests of a file of ShareGPT conversations ([{"conversations": [{"from", "value"}, …]}, …]):
// the first message is the prompt, the length of the answer to it max_tokens. Conversations without
// both, or longer than max_total_tokens together, are left out. `count_tokens` tells lengths. At
// most 1 GiB.
Result<std::vector<LoadRequest>> ReadShareGptRequests(
    const std::string& path, size_t max_requests, int32_t max_total_tokens,
    const std::function<int32_t(const std::string&)>& count_tokens);

// Requests of an Azure LLM inference trace (CSV: TIMESTAMP,ContextTokens,GeneratedTokens): arrival
// times as recorded, prompts of made-up text. Reads no further than max_requests, or 4 GiB.
Result<std::vector<LoadRequest>> ReadAzureRequests(const std::string& path, size_t max_requests,
                                                   int32_t max_total_tokens);

// Text of about `tokens` tokens in any English vocabulary, different for each index.
std::string MakePromptText(int32_t tokens, size_t index);

}  // namespace rill
