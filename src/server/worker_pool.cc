#include "server/worker_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <utility>

namespace rill::server {

WorkerPool::WorkerPool(const WorkerPoolOptions& options) : options_(options) {
  try {
    for (int i = 0; i < options_.threads + options_.small_threads; ++i) {
      threads_.emplace_back([this, small_only = i >= options_.threads] { Main(small_only); });
    }
  } catch (...) {
    Stop();
    throw;
  }
}

WorkerPool::~WorkerPool() {
  Stop();
}

void WorkerPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::IsFull(const std::string& tenant) const {
  if (tasks_.size() >= options_.max_tasks) return true;
  if (tenant.empty()) return false;
  const auto waiting =
      static_cast<double>(small_.WaitingOf(tenant).size() + large_.WaitingOf(tenant).size());
  const auto free = static_cast<double>(options_.max_tasks - tasks_.size());
  return waiting * (1 - options_.tenant_share) >= options_.tenant_share * free;
}

bool WorkerPool::Run(WorkTurn turn, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_ || (!turn.is_bounded_elsewhere && IsFull(turn.tenant))) return false;
    const uint64_t number = next_number_++;
    FairTurns& turns = turn.bytes <= WorkTurn::kSmallBytes ? small_ : large_;
    try {
      const auto [entry, added] =
          tasks_.try_emplace(number, Task{std::move(turn), std::move(task)});
      turns.Push(entry->second.turn.tenant, {0, number});
    } catch (const std::bad_alloc&) {
      tasks_.erase(number);
      return false;
    }
  }
  // Which of them sleeps and may take it is not known.
  wake_.notify_all();
  return true;
}

double WorkerPool::Now() const {
  if (options_.now) return options_.now();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void WorkerPool::Main(bool small_only) {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stop_ || !small_.empty() || (!small_only && !large_.empty()); });
    if (stop_) return;
    FairTurns& turns = !small_only && !large_.empty() ? large_ : small_;
    auto node = tasks_.extract(turns.Next());
    Task& task = node.mapped();
    turns.Serve(task.turn.tenant, {0, node.key()});
    lock.unlock();
    const double start = Now();
    try {
      task.run();
    } catch (const std::exception&) {
      // Out of memory, or a defect: this task's request ends (its responder answers 500), the
      // others go on.
    }
    task.run = nullptr;
    const double took = Now() - start;
    lock.lock();
    turns.Charge(task.turn.tenant, took / std::max(task.turn.weight, 1e-9));
  }
}

}  // namespace rill::server
