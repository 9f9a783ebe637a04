// How long will the queue take? The plan played forward with expected lengths and measured step
// times.
#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "engine/scheduler.h"

namespace rill::engine {

double Scheduler::ForecastWaitMs() const {
  if (!step_time_.ready()) return 0;
  struct End {
    double step = 0;
    int32_t choices = 0, pages = 0;
    bool operator>(const End& other) const { return step > other.step; }
  };
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  const int32_t page_size = options_.runner.page_size;
  // A request as it will be at its end: choices, pages, steps from its first token on.
  const auto expect = [&](const RequestState& request) {
    int32_t generated = 0;
    for (const Sequence& choice : request.choices) {
      if (choice.live()) {
        generated = std::max(generated, static_cast<int32_t>(choice.output_ids.size()));
      }
    }
    const LengthForecast forecast = Forecast(request, generated);
    const double tokens =
        options_.predict_lengths ? forecast.expected_tokens : request.request.sampling.max_tokens;
    const int32_t prompt = request.prompt_size();
    const int32_t shared = prompt / page_size;
    const int32_t live = request.num_live();
    const int32_t total = kv::PagesFor(prompt + static_cast<int64_t>(tokens), page_size);
    return End{forecast.expected_tokens - generated, live, shared + live * (total - shared)};
  };
  double ms = 0;
  double positions = 0;
  int32_t choices = 0;
  int64_t pages = 0;
  for (const RequestState* request : running_) {
    const End end = expect(*request);
    ends.push(end);
    choices += end.choices;
    pages += end.pages;
    const Sequence& first = request->choices[0];
    if (request->phase == Phase::kPrefill) {
      const double left = request->prompt_size() - first.num_computed;
      ms += step_time_.Predict({left, 0, 0}) - step_time_.Predict({0, 0, 0});
    }
    positions += end.choices * (request->prompt_size() + end.step);
  }
  const double mean_positions = choices > 0 ? positions / choices : 0;
  const int64_t mean_pages = running_.empty() ? 1 : pages / std::max(1, num_running());
  const int64_t capacity =
      options_.runner.num_pages - (options_.predict_lengths && num_running() > 0 ? BankNow() : 0);
  double step = 0;
  const auto make_room = [&](int32_t more_choices, int64_t more_pages) {
    while (!ends.empty() &&
           (choices + more_choices > options_.max_choices || pages + more_pages > capacity)) {
      const End end = ends.top();
      ends.pop();
      const double decodes = choices;
      ms += std::max(0.0, end.step - step) *
            step_time_.Predict({0, decodes, decodes * mean_positions});
      step = std::max(step, end.step);
      choices -= end.choices;
      pages -= end.pages;
    }
  };
  for (const RequestState* request : queue_.InOrder()) {
    End end = expect(*request);
    make_room(end.choices, end.pages);
    const double prompt = request->prompt_size();
    ms += step_time_.Predict({prompt, 0, prompt * prompt / 2}) - step_time_.Predict({0, 0, 0});
    choices += end.choices;
    pages += end.pages;
    end.step += step;
    ends.push(end);
  }
  make_room(1, mean_pages);
  return ms;
}

}  // namespace rill::engine
