// ThreadPool: a fixed set of workers that all run the same function, over and over.
//
// Run(fn) calls fn(worker, num_workers) once for each worker in [0, num_workers), the shares at the
// same time on as many threads (the caller's is share 0), and returns when all are done. Workers
// spin briefly for the next call, then park: a barrier costs 80-140 ns spinning and 40 us from a
// park (measured on 2-core machines), and an idle pool uses no CPU.
//
// A share that its worker has not begun when the caller is done with its own is done by the caller:
// on a machine that is busy with other work, an op does not wait for a worker that has no CPU. For
// the same reason workers are not pinned: the system moves one whose CPU has other work.
//
// Owner thread: one thread at a time calls Run. Not responsible for: splitting work (callers split
// by output, never by reduction, so results do not depend on the number of workers).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace rill {

// CPUs this process may use: the smaller of the affinity mask and the cgroup CPU quota, >= 1. A part
// of a CPU in the quota counts as one: its worker waits for a part of each period.
int AvailableCpus();

class ThreadPool {
 public:
  // num_workers <= 0 means AvailableCpus(). Throws std::system_error where the system gives no more
  // threads.
  explicit ThreadPool(int num_workers = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_workers() const { return num_workers_; }

  // fn must not call Run of the same pool, and throw nothing but std::bad_alloc: Run throws it too
  // then, once all shares are over.
  template <typename Fn>
  void Run(Fn&& fn) {
    RunErased(
        [](void* context, int worker, int num_workers) {
          (*static_cast<std::remove_reference_t<Fn>*>(context))(worker, num_workers);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  // Splits [0, count) into num_workers contiguous ranges that differ by at most one `grain`, and
  // calls fn(begin, end) on each non-empty one.
  template <typename Fn>
  void ParallelFor(int64_t count, int64_t grain, Fn&& fn) {
    if (count <= 0) return;
    const int64_t units = (count + grain - 1) / grain;
    if (units == 1 || num_workers_ == 1) {
      fn(int64_t{0}, count);
      return;
    }
    Run([&](int worker, int num_workers) {
      const int64_t begin = units * worker / num_workers * grain;
      int64_t end = units * (worker + 1) / num_workers * grain;
      if (end > count) end = count;
      if (begin < end) fn(begin, end);
    });
  }

 private:
  void Stop();
  using Task = void (*)(void* context, int worker, int num_workers);
  void RunErased(Task task, void* context);
  void WorkerMain(int worker);
  void RunShare(Task task, void* context, int worker);
  // Takes share `worker` of the task of `epoch`, if nobody has.
  bool Claim(int worker, uint64_t epoch);

  struct alignas(64) Share {
    std::atomic<uint64_t> epoch{0};  // of the last task in which somebody took it
  };

  int num_workers_;
  std::unique_ptr<Share[]> shares_;  // [num_workers]; [0] is not used
  std::vector<std::thread> threads_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint64_t> epoch_{0};  // incremented to start a task
  alignas(64) std::atomic<int> remaining_{0};   // workers that have not finished it
  std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> no_memory_{false};  // in a share of the task
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace rill
