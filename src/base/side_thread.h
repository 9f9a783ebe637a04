// Work beside that of this thread.
#pragma once

#include <cstddef>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace rill {

// Runs `work` on a thread of its own; where none can be started, at once. What it throws is thrown
// by Join. The destructor waits for it, whatever was thrown meanwhile.
class SideThread {
 public:
  template <typename Work>
  explicit SideThread(Work work) {
    const auto run = [this, work = std::move(work)]() mutable noexcept {
      try {
        work();
      } catch (...) {
        thrown_ = std::current_exception();
      }
    };
    Start(run);
  }
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;
  ~SideThread() {
    if (thread_.joinable()) thread_.join();
  }

  void Join() {
    if (thread_.joinable()) thread_.join();
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  template <typename Run>
  void Start(Run run) {
    bool started = true;
    try {
      thread_ = std::thread(run);  // a copy: `run` is still whole where none is started
    } catch (const std::system_error&) {
      started = false;
    } catch (const std::bad_alloc&) {
      started = false;
    }
    if (!started) run();
  }

  std::exception_ptr thrown_;
  std::thread thread_;
};

// Calls work() on this thread and on up to num_threads - 1 others, on fewer where the system gives
// no more. Returns when all are done. `work` must not throw.
template <typename Work>
void OnThreads(size_t num_threads, const Work& work) {
  std::vector<std::thread> threads;
  try {
    threads.reserve(num_threads);
    for (size_t i = 1; i < num_threads; ++i) threads.emplace_back([&work] { work(); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace rill
