#include "engine/engine_loop.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/check.h"

namespace rill::engine {
namespace {

double MillisecondsBetween(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

}  // namespace

EngineLoop::EngineLoop(std::unique_ptr<Engine> engine)
    : engine_(std::move(engine)),
      max_waiting_(engine_->options().max_waiting),
      stats_(engine_->stats()),
      forecast_(engine_->forecast()),
      thread_([this] { ThreadMain(); }) {}

EngineLoop::~EngineLoop() {
  Stop(false);
}

Result<RequestId> EngineLoop::Submit(GenerateRequest request, EventCallback callback) {
  // Checked on the caller's thread: depends on what never changes.
  Status refusal = engine_->Validate(request);
  const ArrivalLoad load = engine_->LoadOf(request);
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    const int64_t waiting = stats_.waiting_requests + static_cast<int64_t>(arrivals_.size());
    if (refusal.ok() && stopping_) refusal = Unavailable("the engine is stopping");
    if (refusal.ok() && stats_.dead) {
      refusal = Unavailable("the engine is dead: " + stats_.dead_reason);
    }
    if (refusal.ok() && waiting >= max_waiting_) {
      refusal = Unavailable(
          fmt::format("{} requests are waiting, the limit is {}", waiting, max_waiting_));
    }
    if (!refusal.ok()) {
      ++refused_;
      return refusal;
    }
    id = engine_->ReserveId();
    arrivals_.push_back({id, std::move(request), std::move(callback)});
    arrivals_load_ += load;
  }
  wake_.notify_one();
  return id;
}

Result<RequestId> EngineLoop::Submit(GenerateRequest request, std::shared_ptr<EventQueue> queue) {
  return Submit(std::move(request), [this, queue = std::move(queue)](const TokenEvent& event) {
    if (!queue->Push(event)) Cancel(event.request_id);
  });
}

void EngineLoop::Cancel(RequestId id, int32_t choice) {
  {
    const std::lock_guard lock(mutex_);
    cancels_.emplace_back(id, choice);
  }
  wake_.notify_one();
}

void EngineLoop::Stop(bool drain) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (!drain) cancel_all_ = true;
  }
  wake_.notify_one();
  const std::lock_guard lock(join_mutex_);
  if (!thread_.joinable()) return;
  CHECK(std::this_thread::get_id() != thread_.get_id()) << "Stop called from a callback";
  thread_.join();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting_requests += static_cast<int32_t>(arrivals_.size());
  stats.estimated_wait_ms = WaitMs();
  stats.refused_requests += refused_;
  stats.idle_ms = idle_ms_;
  stats.starved_ms = starved_ms_;
  if (asleep_) {
    const Clock::time_point now = Clock::now();
    stats.idle_ms += MillisecondsBetween(asleep_since_, now);
    if (upstream_ > 0) {
      stats.starved_ms += MillisecondsBetween(std::max(asleep_since_, upstream_since_), now);
    }
  }
  return stats;
}

double EngineLoop::WaitMs() const {
  if (stats_.dead) return 0;
  ArrivalLoad since = since_forecast_;
  for (const ArrivalLoad& load : {taken_load_, arrivals_load_, upstream_load_}) since += load;
  return forecast_.WaitAfter(since);
}

void EngineLoop::AddUpstream(int32_t delta, const ArrivalLoad& load) {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  if (upstream_ > 0 && asleep_) {
    starved_ms_ += MillisecondsBetween(std::max(asleep_since_, upstream_since_), now);
  }
  upstream_ += delta;
  upstream_load_ += load;
  upstream_since_ = now;
  CHECK(upstream_ >= 0) << upstream_;
}

void EngineLoop::SetAfterEvents(std::function<void()> after_events) {
  const std::lock_guard lock(after_events_mutex_);
  after_events_ = std::move(after_events);
}

void EngineLoop::EndSleep() {
  const Clock::time_point now = Clock::now();
  idle_ms_ += MillisecondsBetween(asleep_since_, now);
  if (upstream_ > 0) {
    starved_ms_ += MillisecondsBetween(std::max(asleep_since_, upstream_since_), now);
  }
  asleep_ = false;
}

double EngineLoop::current_step_ms() const {
  const int64_t began_ns = step_began_ns_.load(std::memory_order_relaxed);
  if (began_ns == 0) return 0;
  const int64_t now_ns = std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
  return static_cast<double>(now_ns - began_ns) * 1e-6;
}

bool EngineLoop::TakeNotes() {
  std::vector<NewRequest> arrivals;
  std::vector<std::pair<RequestId, int32_t>> cancels;
  bool cancel_all = false;
  {
    std::unique_lock lock(mutex_);
    const auto has_cause = [this] {
      return engine_->HasWork() || !arrivals_.empty() || !cancels_.empty() || stopping_;
    };
    if (!has_cause()) {
      asleep_ = true;
      asleep_since_ = Clock::now();
      wake_.wait(lock, has_cause);
      EndSleep();
    }
    if (stopping_ && !engine_->HasWork() && arrivals_.empty()) return false;
    arrivals.swap(arrivals_);
    cancels.swap(cancels_);
    cancel_all = cancel_all_;
    // Until the next PublishStats they are in no queue that Submit sees: count them here.
    stats_.waiting_requests += static_cast<int32_t>(arrivals.size());
    taken_load_ += std::exchange(arrivals_load_, {});
  }
  for (NewRequest& arrival : arrivals) {
    // The device was lost since the request was taken, or there is no memory for it: it was
    // accepted, so it gets its end.
    TokenEvent event;
    event.request_id = arrival.id;
    event.finish_reason = FinishReason::kError;
    event.is_final = true;
    try {
      event.error =
          engine_->SubmitAs(arrival.id, std::move(arrival.request), arrival.callback).status();
      if (event.error.ok()) continue;
    } catch (const std::bad_alloc&) {
      event.error = {StatusCode::kUnavailable, "out of memory"};
    }
    if (arrival.callback) arrival.callback(event);
  }
  for (const auto& [id, choice] : cancels) engine_->Cancel(id, choice);
  if (cancel_all) engine_->CancelAll();
  return true;
}

void EngineLoop::PublishStats() {
  EngineStats stats = engine_->stats();
  const std::lock_guard lock(mutex_);
  stats_ = std::move(stats);
  forecast_ = engine_->forecast();
  since_forecast_ = engine_->since_forecast();
  taken_load_ = {};
}

bool EngineLoop::OneStep() {
  try {
    if (!TakeNotes()) return false;
    // A failed step has already ended its requests with the reason, and stats() counts it.
    step_began_ns_.store(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(),
                         std::memory_order_relaxed);
    (void)engine_->Compute();
  } catch (const std::bad_alloc&) {
    // Compute lets none out: it was a cancel that was half done.
    engine_->GiveUp();
  }
  step_began_ns_.store(0, std::memory_order_relaxed);
  try {
    PublishStats();
  } catch (const std::bad_alloc&) {
    // The numbers may come later; that it is dead is known now.
    const std::lock_guard lock(mutex_);
    stats_.dead = engine_->dead();
    if (stats_.dead) stats_.dead_reason = "out of memory";  // so short that it takes none
  }
  const std::lock_guard lock(after_events_mutex_);
  engine_->EmitEvents(after_events_);
  return true;
}

void EngineLoop::ThreadMain() {
  pthread_setname_np(pthread_self(), "rill-engine");
  while (OneStep()) {
  }
}

}  // namespace rill::engine
