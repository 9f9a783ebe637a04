// EventQueue: a bounded queue of events between the engine's thread and one reader.
//
// Push never blocks: the compute thread must not wait for text or sockets. What does not fit is
// told to the writer, who ends the request.
// Threads: one writer, one reader.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>

#include "rill/request.h"

namespace rill::engine {

class EventQueue {
 public:
  explicit EventQueue(size_t capacity) : capacity_(capacity) {}

  // False when the queue is full. A final event always fits: its reader must learn the end.
  bool Push(const TokenEvent& event);
  // Waits for the next event; nothing at the deadline.
  std::optional<TokenEvent> Pop(std::chrono::milliseconds timeout);

 private:
  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<TokenEvent> events_;  // guarded by mutex_
};

}  // namespace rill::engine
