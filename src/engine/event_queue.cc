#include "engine/event_queue.h"

#include <utility>

namespace rill::engine {

bool EventQueue::Push(const TokenEvent& event) {
  {
    const std::lock_guard lock(mutex_);
    if (events_.size() >= capacity_ && event.finish_reason == FinishReason::kNone) return false;
    events_.push_back(event);
  }
  ready_.notify_one();
  return true;
}

std::optional<TokenEvent> EventQueue::Pop(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!ready_.wait_for(lock, timeout, [this] { return !events_.empty(); })) return std::nullopt;
  TokenEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

}  // namespace rill::engine
