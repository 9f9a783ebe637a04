#include "server/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include "server/http/unique_fd.h"

namespace rill::server {
namespace {

using Clock = std::chrono::steady_clock;

sigset_t StopSet() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

class StopSignalsImpl final : public StopSignals {
 public:
  ~StopSignalsImpl() override {
    if (thread_.joinable()) {
      {
        const std::lock_guard lock(mutex_);
        ended_ = true;
      }
      Wake();
      thread_.join();
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  Status Start() {
    const sigset_t signals = StopSet();
    // Before the first thread: one with a signal unblocked would let it end the process.
    pthread_sigmask(SIG_BLOCK, &signals, &before_);
    signals_ = UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (signals_.get() < 0 || wake_.get() < 0) {
      return ResourceExhausted(std::string("serve: signals: ") + std::strerror(errno));
    }
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error& error) {
      return ResourceExhausted(std::string("serve: signals: ") + error.what());
    }
    return OkStatus();
  }

  int Wait(std::chrono::milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    told_.wait_for(lock, timeout, [&] { return hangup_ || next_stop_ < std::min(num_stops_, 2); });
    if (next_stop_ < std::min(num_stops_, 2)) return stops_[next_stop_++];
    if (!hangup_) return 0;
    hangup_ = false;
    return SIGHUP;
  }

  void LeaveAfterFirst(std::chrono::milliseconds time) override {
    const std::lock_guard lock(mutex_);
    after_first_ = time;
    // One that waits to be told is not late.
    if (num_stops_ == 1 && next_stop_ == 0) end_ = first_at_ + time;
  }

  void EndWithin(std::chrono::milliseconds time) override {
    const std::lock_guard lock(mutex_);
    Shorten(time);
    Wake();
  }

 private:
  void Wake() {
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof one);
  }

  // The mutex is held.
  void Shorten(std::chrono::milliseconds time) {
    const Clock::time_point end = Clock::now() + time;
    end_ = end_ ? std::min(*end_, end) : end;
  }

  // The mutex is held.
  void Take(int number) {
    if (number == SIGHUP) {
      hangup_ = true;
    } else {
      if (num_stops_ < 2) stops_[num_stops_] = number;
      if (num_stops_ == 0) first_at_ = Clock::now();
      Shorten(num_stops_ == 0 ? after_first_ : kAfterSecond);
      num_stops_ = std::min(num_stops_ + 1, 2);
    }
    told_.notify_all();
  }

  // Allocates nothing, and waits for no lock that is held for long.
  void Run() {
    pthread_setname_np(pthread_self(), "rill-signals");
    pollfd entries[2] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                         {.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    std::unique_lock lock(mutex_);
    while (!ended_) {
      int wait_ms = -1;
      if (end_) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*end_ - Clock::now());
        // What threads do now, they would never end. Files count once they are renamed.
        if (left.count() <= 0) _exit(0);
        wait_ms = static_cast<int>(std::min<int64_t>(left.count(), 60'000));
      }
      lock.unlock();
      poll(entries, 2, wait_ms);
      signalfd_siginfo info;
      const bool has_signal = read(signals_.get(), &info, sizeof info) == sizeof info;
      uint64_t count;
      (void)!read(wake_.get(), &count, sizeof count);
      lock.lock();
      if (has_signal) Take(static_cast<int>(info.ssi_signo));
    }
  }

  sigset_t before_ = {};
  UniqueFd signals_, wake_;
  std::mutex mutex_;
  std::condition_variable told_;
  // All guarded by mutex_.
  bool hangup_ = false;
  bool ended_ = false;
  int stops_[2] = {};
  int num_stops_ = 0, next_stop_ = 0;
  std::chrono::milliseconds after_first_ = kAtStart;
  Clock::time_point first_at_;
  std::optional<Clock::time_point> end_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<StopSignals>> StopSignals::Create() {
  auto out = std::make_unique<StopSignalsImpl>();
  RILL_RETURN_IF_ERROR(out->Start());
  return std::unique_ptr<StopSignals>(std::move(out));
}

}  // namespace rill::server
