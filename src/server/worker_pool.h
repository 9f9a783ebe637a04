// WorkerPool: a few threads for work that must not run on an I/O thread: large bodies, tokenising,
// writing long answers, loading a model.
//
// Tenants take turns by the time that their tasks took, divided by their weight. Some threads take
// nothing but small tasks, the others large ones first: so neither waits for the other, and a
// thread that may take both is not idle while one waits.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/fair_turns.h"

namespace rill::server {

struct WorkerPoolOptions {
  int threads = 1;
  int small_threads = 0;  // beside those, for small tasks alone
  size_t max_tasks = 1024;
  // Of max_tasks, for one tenant, as TextServiceOptions::tenant_share; no tenant (""): all.
  double tenant_share = 1;
  std::function<double()> now = {};  // seconds; none: the steady clock
};

// Whose work it is and how much.
struct WorkTurn {
  static constexpr int64_t kSmallBytes = 256 << 10;
  std::string tenant = {};
  double weight = 1;
  int64_t bytes = 0;                  // that are read or written; small up to kSmallBytes
  bool is_bounded_elsewhere = false;  // max_tasks and the share do not count
};

class WorkerPool {
 public:
  explicit WorkerPool(const WorkerPoolOptions& options);
  ~WorkerPool();  // tasks that have not begun are dropped
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when as many tasks wait as may, the pool ends, or there is no memory.
  bool Run(WorkTurn turn, std::function<void()> task);

 private:
  void Stop();
  struct Task {
    WorkTurn turn;
    std::function<void()> run;
  };

  void Main(bool small_only);
  double Now() const;
  bool IsFull(const std::string& tenant) const;  // mutex_ is held

  const WorkerPoolOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t next_number_ = 1;
  std::unordered_map<uint64_t, Task> tasks_;  // that wait
  FairTurns small_, large_;                   // numbers of them
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rill::server
