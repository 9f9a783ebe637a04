// WorkerPool: a few threads for work that must not run on an I/O thread: large bodies, tokenising,
// loading a model.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rill::server {

class WorkerPool {
 public:
  explicit WorkerPool(int num_threads, size_t max_tasks = 1024) : max_tasks_(max_tasks) {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Main(); });
  }
  // Tasks that have not begun are dropped.
  ~WorkerPool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      tasks_.clear();
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when `max_tasks` are waiting already, or the pool ends.
  bool Run(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      if (stop_ || tasks_.size() >= max_tasks_) return false;
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
    return true;
  }

 private:
  void Main() {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
        if (stop_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      try {
        task();
      } catch (const std::exception&) {
        // Out of memory, or a defect: this task's request ends (its responder answers 500), the
        // others go on.
      }
    }
  }

  const size_t max_tasks_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rill::server
