// StopSignals: SIGTERM, SIGINT and SIGHUP, and that the process ends after them.
//
// The thread that serves waits for signals here and ends in order. It may be held up then, or the
// models' threads that it waits for: by a long step, a file system that hangs, the look-up of a
// name. So a thread that does nothing else takes the signals, and ends the process with _exit(0)
// when the first SIGTERM or SIGINT, or a second one, has had its time.
//
// 1. From Create() to the end of this object the three signals are blocked in its thread and those
//    that it starts, and taken by nobody else.
// 2. A second SIGTERM or SIGINT leaves kAfterSecond; the first leaves what LeaveAfterFirst() said,
//    kAtStart before that.
// 3. The time only gets shorter, but for a first signal that waits to be told when
//    LeaveAfterFirst() is called.
#pragma once

#include <chrono>
#include <memory>

#include "rill/status.h"

namespace rill::server {

class StopSignals {
 public:
  static constexpr std::chrono::milliseconds kAtStart{1500};
  static constexpr std::chrono::milliseconds kAfterSecond{1000};

  // On the thread that starts the others, before it does. One object in a process at a time.
  static Result<std::unique_ptr<StopSignals>> Create();
  // The signals are as they were before.
  virtual ~StopSignals() = default;

  // The next signal, or 0 after that time. Of SIGTERM and SIGINT the first two are told, and of
  // SIGHUP one where several wait.
  virtual int Wait(std::chrono::milliseconds timeout) = 0;
  // Any thread.
  virtual void LeaveAfterFirst(std::chrono::milliseconds time) = 0;
  virtual void EndWithin(std::chrono::milliseconds time) = 0;
};

}  // namespace rill::server
