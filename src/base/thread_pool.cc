#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <new>

#include "base/check.h"
#include "base/control_groups.h"
#include "base/pause.h"

namespace rill {
namespace {

// ~50 us of spinning on the machines measured: longer than the gap between two ops of a step,
// shorter than the gap between two requests.
constexpr int kSpins = 2000;

// CPUs that affinity leaves this process; 0 when the kernel does not tell.
int CpusOfAffinity() {
  // A set with fewer bits than the kernel has possible CPUs is EINVAL, and a cpu_set_t has 1,024.
  constexpr size_t kMostCpus = size_t{1} << 20;
  for (size_t num_bits = CPU_SETSIZE; num_bits <= kMostCpus; num_bits *= 2) {
    cpu_set_t* set = CPU_ALLOC(num_bits);
    if (set == nullptr) return 0;
    const size_t size_bytes = CPU_ALLOC_SIZE(num_bits);
    CPU_ZERO_S(size_bytes, set);
    const int error = sched_getaffinity(0, size_bytes, set) == 0 ? 0 : errno;
    const int cpus = error == 0 ? CPU_COUNT_S(size_bytes, set) : 0;
    CPU_FREE(set);
    if (error != EINVAL) return cpus;
  }
  return 0;
}

}  // namespace

int AvailableCpus() {
  int cpus = CpusOfAffinity();
  if (cpus <= 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = CpuQuota(); quota && *quota < cpus) {
    cpus = static_cast<int>(std::ceil(*quota));
  }
  return std::max(1, cpus);
}

ThreadPool::ThreadPool(int num_workers)
    : num_workers_(num_workers > 0 ? num_workers : AvailableCpus()) {
  shares_ = std::make_unique<Share[]>(static_cast<size_t>(num_workers_));
  threads_.reserve(static_cast<size_t>(num_workers_ - 1));
  try {
    for (int worker = 1; worker < num_workers_; ++worker) {
      threads_.emplace_back([this, worker] { WorkerMain(worker); });
    }
  } catch (...) {
    Stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  Stop();
}

void ThreadPool::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

bool ThreadPool::Claim(int worker, uint64_t epoch) {
  // Each share of a task is taken before the next task begins, so the one before is what is there.
  // A worker that wakes late, with an epoch that is over, finds a later one and takes nothing.
  uint64_t before = epoch - 1;
  return shares_[static_cast<size_t>(worker)].epoch.compare_exchange_strong(
      before, epoch, std::memory_order_acq_rel, std::memory_order_relaxed);
}

// What a share has no memory for is told to the caller of Run when all shares are over: until then
// the others use what is on its stack.
void ThreadPool::RunShare(Task task, void* context, int worker) {
  try {
    task(context, worker, num_workers_);
  } catch (const std::bad_alloc&) {
    no_memory_.store(true, std::memory_order_relaxed);
  }
}

void ThreadPool::RunErased(Task task, void* context) {
  if (num_workers_ == 1) {
    task(context, 0, 1);
    return;
  }
  task_ = task;
  context_ = context;
  remaining_.store(num_workers_ - 1, std::memory_order_relaxed);
  // seq_cst pairs with the worker's parked_ increment before its last look at epoch_: either it
  // sees the new epoch, or we see it parked and wake it.
  const uint64_t epoch = epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
  if (parked_.load(std::memory_order_seq_cst) > 0) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }
  RunShare(task, context, 0);
  for (int worker = 1; worker < num_workers_; ++worker) {
    if (!Claim(worker, epoch)) continue;
    RunShare(task, context, worker);
    remaining_.fetch_sub(1, std::memory_order_relaxed);
  }
  int spins = 0;
  while (remaining_.load(std::memory_order_acquire) != 0) {
    CpuRelax();
    // A worker that lost its CPU to another process must not keep us burning its share.
    if (++spins > kSpins) {
      std::this_thread::yield();
      spins = 0;
    }
  }
  if (no_memory_.load(std::memory_order_relaxed)) {
    no_memory_.store(false, std::memory_order_relaxed);
    throw std::bad_alloc();
  }
}

void ThreadPool::WorkerMain(int worker) {
  pthread_setname_np(pthread_self(), "rill-compute");
  uint64_t seen = 0;
  while (true) {
    int spins = 0;
    while (epoch_.load(std::memory_order_acquire) == seen &&
           !stop_.load(std::memory_order_relaxed)) {
      if (++spins < kSpins) {
        CpuRelax();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      parked_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] {
        return epoch_.load(std::memory_order_seq_cst) != seen ||
               stop_.load(std::memory_order_relaxed);
      });
      parked_.fetch_sub(1, std::memory_order_relaxed);
    }
    if (stop_.load(std::memory_order_acquire)) return;
    seen = epoch_.load(std::memory_order_acquire);
    if (!Claim(worker, seen)) continue;
    RunShare(task_, context_, worker);
    remaining_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace rill
