// LineWriter: texts to stderr or to a log's file, without a wait for who reads them.
//
// A pipe or a terminal whose reader stopped, and a disk that hangs, block a write(2) for ever; that
// they are ready for a byte says nothing of the next. So a thread of the writer's own writes, and
// its queue is bounded: what finds it full is dropped and counted. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace rill {

class LineWriter {
 public:
  // Of texts that wait; a text that is longer is taken while they are fewer. A crowd's prompts in a
  // log come at once and must not find it full while a healthy disk takes them.
  static constexpr size_t kMaxQueuedBytes = size_t{16} << 20;

  // The one of stderr, for all of the process: never closed.
  static LineWriter& Stderr();

  explicit LineWriter(int fd);  // closed by its thread
  // Does not wait: what is queued is still written where the descriptor takes it.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Texts are written whole and in order; one that was cut is followed by a line break. Allocates
  // only the text's place in the queue; without memory or a thread the text counts as dropped.
  void Write(std::string text) noexcept;
  // True once nothing waits and nothing is being written; false after that time.
  bool Flush(std::chrono::milliseconds patience) const;
  bool idle() const { return Flush(std::chrono::milliseconds(0)); }
  // Takes that descriptor instead, for a text that is being written and did not begin, too. Returns
  // when no byte goes to the old one any more, which is closed, or after that time.
  void Switch(int fd, std::chrono::milliseconds patience);
  // Texts that found the queue full, or that could not be written (no reader, no space).
  uint64_t dropped() const;

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);
  static bool WriteText(State& state, const std::string& text);

  const std::shared_ptr<State> state_;  // the thread's as well, which may outlive this
};

}  // namespace rill
