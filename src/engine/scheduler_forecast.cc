// How long will the queue take? The plan played forward with expected lengths and measured step
// times.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace rill::engine {

namespace {

double MillisecondsUntil(Clock::time_point at, Clock::time_point now) {
  if (at == Clock::time_point::max()) return std::numeric_limits<double>::infinity();
  return std::chrono::duration<double, std::milli>(at - now).count();
}

// A request as it will be at its end.
struct End {
  double step = 0;         // of its last token, counted from now
  double deadline_ms = 0;  // from now; it ends then at the latest
  int32_t choices = 0, pages = 0;
};

// Those that run, in the order in which they end: by length or by deadline.
class RunningEnds {
 public:
  bool empty() const { return num_left_ == 0; }
  void Push(const End& end) {
    by_step_.push({end.step, ends_.size()});
    if (std::isfinite(end.deadline_ms)) by_deadline_.push({end.deadline_ms, ends_.size()});
    ends_.push_back(end);
    gone_.push_back(false);
    ++num_left_;
  }
  // Takes the next one out and moves `ms` and `step` to where it ends.
  End Pop(double step_ms, double& ms, double& step) {
    Clean(by_step_);
    Clean(by_deadline_);
    const double ends_at = ms + std::max(0.0, by_step_.top().first - step) * step_ms;
    const bool late = !by_deadline_.empty() && by_deadline_.top().first < ends_at;
    const size_t index = late ? by_deadline_.top().second : by_step_.top().second;
    const double at = late ? std::max(ms, by_deadline_.top().first) : ends_at;
    step =
        late ? step + (step_ms > 0 ? (at - ms) / step_ms : 0) : std::max(step, ends_[index].step);
    ms = at;
    gone_[index] = true;
    --num_left_;
    return ends_[index];
  }

 private:
  using Entry = std::pair<double, size_t>;
  using Heap = std::priority_queue<Entry, std::vector<Entry>, std::greater<>>;
  void Clean(Heap& heap) const {
    while (!heap.empty() && gone_[heap.top().second]) heap.pop();
  }
  std::vector<End> ends_;
  std::vector<bool> gone_;
  Heap by_step_, by_deadline_;
  int64_t num_left_ = 0;
};

}  // namespace

WaitForecast Scheduler::ForecastWait(Clock::time_point now) const {
  WaitForecast out;
  out.has_queue = num_waiting() > 0;
  out.running_choices = running_choices_;
  out.max_choices = options_.max_choices;
  out.max_positions = static_cast<double>(options_.runner.num_pages) * options_.runner.page_size;
  if (!forecast_time_.ready()) return out;
  out.SetCosts(forecast_time_);
  RunningEnds ends;
  const int32_t page_size = options_.runner.page_size;
  const auto expect = [&](const RequestState& request) {
    int32_t generated = 0;
    for (const Sequence& choice : request.choices) {
      if (choice.live()) {
        generated = std::max(generated, static_cast<int32_t>(choice.output_ids.size()));
      }
    }
    const LengthForecast forecast = Forecast(request, generated);
    const double tokens =
        options_.predict_lengths ? forecast.held_tokens : request.request.sampling.max_tokens;
    const int32_t prompt = request.prompt_size();
    const int32_t shared = prompt / page_size;
    const int32_t live = request.num_live();
    const int32_t total = kv::PagesFor(prompt + static_cast<int64_t>(tokens), page_size);
    return End{forecast.expected_tokens - generated, MillisecondsUntil(request.deadline, now), live,
               shared + live * (total - shared)};
  };
  double ms = 0;
  double positions = 0;
  int32_t choices = 0;
  int64_t pages = 0;
  for (const RequestState* request : running_) {
    const End end = expect(*request);
    ends.Push(end);
    choices += end.choices;
    pages += end.pages;
    const Sequence& first = request->choices[0];
    if (request->phase == Phase::kPrefill) {
      const double left = request->prompt_size() - first.num_computed;
      ms += forecast_time_.Predict({left, 0, 0}) - forecast_time_.Predict({0, 0, 0});
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
      const double decodes = choices;
      const End end =
          ends.Pop(forecast_time_.Predict({0, decodes, decodes * mean_positions}), ms, step);
      choices -= end.choices;
      pages -= end.pages;
    }
  };
  for (const RequestState* request : queue_.InOrder()) {
    End end = expect(*request);
    make_room(end.choices, end.pages);
    // Its time in the queue is over by then: the next one has the room.
    if (MillisecondsUntil(std::min(request->queue_deadline, request->deadline), now) < ms) continue;
    const double prompt = request->prompt_size();
    ms += forecast_time_.Predict({prompt, 0, prompt * prompt / 2}) -
          forecast_time_.Predict({0, 0, 0});
    choices += end.choices;
    pages += end.pages;
    end.step += step;
    ends.Push(end);
  }
  make_room(1, mean_pages);
  out.wait_ms = ms;
  return out;
}

}  // namespace rill::engine
