// A progress line on stderr: only on a terminal, and only once something takes over half a second
// with more to come, so that quick work stays quiet and pipes stay clean.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace rill::app {

class ProgressBar {
 public:
  enum class Unit { kCount, kBytes };
  ProgressBar(std::string label, Unit unit);
  ~ProgressBar();  // Clear
  // Removes the line.
  void Clear();
  // Draws at most ten times a second. total <= 0: unknown.
  void Update(int64_t done, int64_t total);

 private:
  std::string label_;
  Unit unit_;
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

// For work that cannot say how far it is: "label…" on stderr, only on a terminal, and only once it
// takes over half a second.
class BusyNote {
 public:
  explicit BusyNote(std::string label);
  ~BusyNote();  // removes the line
  BusyNote(const BusyNote&) = delete;
  BusyNote& operator=(const BusyNote&) = delete;

 private:
  std::string label_;
  bool done_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace rill::app
