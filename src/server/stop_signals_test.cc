#include "server/stop_signals.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

namespace rill::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

std::unique_ptr<StopSignals> Create() {
  auto made = StopSignals::Create();
  if (!made.ok()) std::abort();
  return std::move(*made);
}

void Send(int number) {
  kill(getpid(), number);
  // Before the next one of the same number: two that wait are one.
  std::this_thread::sleep_for(milliseconds(100));
}

class StopSignalsDeath : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  // Time that `statement`, run in a process of its own, may take beside that of the start.
  static constexpr seconds kSoon{20};
};

TEST(StopSignals, Signals_AreToldInOrder) {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    const auto signals = Create();
    signals->LeaveAfterFirst(seconds(1000));
    EXPECT_EQ(signals->Wait(milliseconds(1)), 0);
    Send(SIGHUP);
    Send(SIGHUP);
    Send(SIGINT);
    EXPECT_EQ(signals->Wait(seconds(10)), SIGINT);  // what ends goes first
    EXPECT_EQ(signals->Wait(seconds(10)), SIGHUP);
    EXPECT_EQ(signals->Wait(milliseconds(1)), 0);
  }
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    EXPECT_EQ(sigismember(&after, number), sigismember(&before, number));
  }
}

TEST_F(StopSignalsDeath, AtTheStart_TheFirstIsEnough) {
  const auto start = Clock::now();
  EXPECT_EXIT(
      {
        const auto signals = Create();
        Send(SIGTERM);
        std::this_thread::sleep_for(seconds(60));
        _exit(77);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST_F(StopSignalsDeath, ASecondOne_EndsWhatHangs) {
  const auto start = Clock::now();
  EXPECT_EXIT(
      {
        const auto signals = Create();
        signals->LeaveAfterFirst(seconds(1000));
        Send(SIGTERM);
        if (signals->Wait(seconds(10)) != SIGTERM) _exit(78);
        Send(SIGINT);
        std::this_thread::sleep_for(seconds(60));
        _exit(77);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST_F(StopSignalsDeath, TheTimeThatIsLeft_EndsWhatHangs) {
  const auto start = Clock::now();
  EXPECT_EXIT(
      {
        const auto signals = Create();
        signals->LeaveAfterFirst(seconds(1000));
        Send(SIGTERM);
        signals->EndWithin(milliseconds(200));
        signals->EndWithin(seconds(1000));
        std::this_thread::sleep_for(seconds(60));
        _exit(77);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_LT(Clock::now() - start, kSoon);
}

TEST_F(StopSignalsDeath, AFirstOneFromTheStart_HasTheTimeOfWhoWaitsForIt) {
  EXPECT_EXIT(
      {
        const auto signals = Create();
        Send(SIGTERM);
        signals->LeaveAfterFirst(seconds(1000));
        if (signals->Wait(seconds(10)) != SIGTERM) _exit(78);
        std::this_thread::sleep_for(StopSignals::kAtStart + milliseconds(500));
        _exit(77);
      },
      testing::ExitedWithCode(77), "");
}

}  // namespace
}  // namespace rill::server
