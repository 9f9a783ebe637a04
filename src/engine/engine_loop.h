// EngineLoop: an engine on a thread of its own.
//
//   EngineLoop loop(std::move(engine));
//   auto queue = std::make_shared<EventQueue>(256);
//   auto id = loop.Submit(request, queue);      // any thread
//   while (auto event = queue->Pop(1s)) { … if (event->is_final) break; }
//
// The thread sleeps when there is nothing to do. Submit and Cancel only leave a note for it and
// never wait for a step. Every accepted request gets its final event, also when the loop ends.
//
// Threads: all methods from any thread, not from a callback of the same loop except Submit, Cancel
// and stats. Callbacks run on the loop's thread and must not block.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/event_queue.h"

namespace rill::engine {

class EngineLoop {
 public:
  // The engine's runner must outlive the loop.
  explicit EngineLoop(std::unique_ptr<Engine> engine);
  // Stop(false).
  ~EngineLoop();
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  // Errors: as Engine::Submit, at once; kUnavailable when the loop is stopping.
  Result<RequestId> Submit(GenerateRequest request, EventCallback callback);
  // Events into a bounded queue. A reader that lets it fill up has its request cancelled.
  Result<RequestId> Submit(GenerateRequest request, std::shared_ptr<EventQueue> queue);
  // Takes effect before the next step. A request that has ended is left alone.
  void Cancel(RequestId id, int32_t choice = -1);
  // Refuses new requests; lets running and waiting ones end (drain) or cancels them; returns when
  // the thread has ended. Further calls do nothing.
  void Stop(bool drain);
  // As of the last step. Who has seen an event sees the state that it came from, or a later one.
  EngineStats stats() const;
  // A request is on its way here: from when it waits to be tokenised until it was submitted or
  // given up. What the thread sleeps meanwhile is EngineStats::starved_ms. `load`: the same both
  // times.
  void BeginUpstream(const ArrivalLoad& load) { AddUpstream(1, load); }
  void EndUpstream(const ArrivalLoad& load) {
    ArrivalLoad less;
    AddUpstream(-1, less -= load);
  }
  // Engine::LoadOf. Thread-safe.
  ArrivalLoad LoadOf(std::string_view tenant, std::string_view length_class, int32_t max_tokens,
                     int32_t choices, double prompt_tokens) const {
    return engine_->LoadOf(tenant, length_class, max_tokens, choices, prompt_tokens);
  }
  // `after_events` runs on the loop's thread after each step, once its last event was handed out:
  // who collects events passes them on there, with one lock and one wake-up for all. Returns when
  // the one before is not running any more. Null: none.
  void SetAfterEvents(std::function<void()> after_events);
  // How long the step that runs now has been running, in milliseconds; 0 between steps. For a
  // watchdog: no lock is taken. A step that never ends shows here.
  double current_step_ms() const;

 private:
  struct NewRequest {
    RequestId id = 0;
    GenerateRequest request;
    EventCallback callback;
  };

  void ThreadMain();
  // False when the thread should end. Throws nothing: memory that runs out ends requests.
  bool OneStep();
  // Moves the notes into the engine. False when the thread should end.
  bool TakeNotes();
  void PublishStats();
  // Of a request that came now; mutex_ is held.
  double WaitMs() const;
  void AddUpstream(int32_t delta, const ArrivalLoad& load);
  // Counts the thread's sleep; mutex_ is held.
  void EndSleep();

  std::unique_ptr<Engine> engine_;  // used by the thread alone, but Validate, LoadOf and ReserveId
  const int32_t max_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_:
  std::vector<NewRequest> arrivals_;
  std::vector<std::pair<RequestId, int32_t>> cancels_;
  EngineStats stats_;
  WaitForecast forecast_;
  // What it has not seen: submitted before stats_ were published, being submitted, in arrivals_,
  // and not here yet.
  ArrivalLoad since_forecast_, taken_load_, arrivals_load_, upstream_load_;
  int64_t refused_ = 0;
  bool stopping_ = false;
  bool cancel_all_ = false;
  int32_t upstream_ = 0;
  bool asleep_ = false;
  Clock::time_point asleep_since_, upstream_since_;
  double idle_ms_ = 0, starved_ms_ = 0;
  std::atomic<int64_t> step_began_ns_{0};  // of Clock; 0 between steps
  std::mutex after_events_mutex_;
  std::function<void()> after_events_;  // guarded by after_events_mutex_
  std::mutex join_mutex_;               // Stop from several threads
  std::thread thread_;
};

}  // namespace rill::engine
