// StderrWriter: text on stderr that never holds its caller up for long.
//
// stderr may be a pipe whose reader stopped reading. A write(2) to it blocks then, for ever, and
// with it whoever waits for a signal; so the pipe is asked first. Thread-safe: calls take turns, in
// which each holds the others up for at most its patience.
#pragma once

#include <chrono>
#include <mutex>
#include <string_view>

namespace rill {

class StderrWriter {
 public:
  explicit StderrWriter(int fd = 2) : fd_(fd) {}

  // Writes all of `text`, waiting that long for a reader in all; once a reader let it wait in vain,
  // later texts do not wait until one is taken again. False when it was not written, or not all of
  // it: the next one then begins on a line of its own. errno says why; EAGAIN: nobody reads.
  bool Write(std::string_view text,
             std::chrono::milliseconds patience = std::chrono::milliseconds(500));

 private:
  std::mutex mutex_;
  const int fd_;
  bool stalled_ = false;
  bool is_cut_ = false;
};

}  // namespace rill
