// Work beside that of this thread.
#pragma once

#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

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

}  // namespace rill
