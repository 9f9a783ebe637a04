#include "base/thread_stacks.h"

#include <cxxabi.h>
#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

namespace rill {
namespace {

constexpr int kMaxFrames = 48;
// The handler's own and the kernel's return to it.
constexpr int kHandlerFrames = 2;

// What one thread is asked, and its answer. Never freed: an answer may come late.
struct Question {
  // The thread and what has become of its question, in one word: a thread that comes late finds
  // another's.
  enum State : uint64_t { kAsked = 1, kAnswering, kAnswered };
  static uint64_t Word(pid_t thread, State state) {
    return static_cast<uint64_t>(thread) << 2 | state;
  }
  std::atomic<uint64_t> word{0};
  void* frames[kMaxFrames];
  int num_frames = 0;
};
Question g_question;
static_assert(std::atomic<uint64_t>::is_always_lock_free);

pid_t ThisThread() {
  return static_cast<pid_t>(::syscall(SYS_gettid));
}

// backtrace() takes memory only where the unwinder is not loaded yet, which Install() sees to.
void Answer(int) {
  const int saved_errno = errno;
  const pid_t thread = ThisThread();
  uint64_t asked = Question::Word(thread, Question::kAsked);
  if (g_question.word.compare_exchange_strong(asked,
                                              Question::Word(thread, Question::kAnswering))) {
    g_question.num_frames = ::backtrace(g_question.frames, kMaxFrames);
    g_question.word = Question::Word(thread, Question::kAnswered);
  }
  errno = saved_errno;
}

bool Install() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);
  struct sigaction action{};
  action.sa_handler = Answer;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  return ::sigaction(SIGURG, &action, nullptr) == 0;
}

// True when g_question holds the frames of `thread`.
bool Ask(pid_t thread, std::chrono::milliseconds patience) {
  static bool stuck = false;  // one caller at a time
  if (stuck) return false;
  const uint64_t answered = Question::Word(thread, Question::kAnswered);
  g_question.word = Question::Word(thread, Question::kAsked);
  const auto end = std::chrono::steady_clock::now() + patience;
  if (::syscall(SYS_tgkill, ::getpid(), thread, SIGURG) == 0) {
    while (g_question.word != answered && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  uint64_t asked = Question::Word(thread, Question::kAsked);
  if (g_question.word.compare_exchange_strong(asked, 0)) return false;
  // It has begun to answer. What holds that up (the program's file on a disk that hangs, say) has
  // the frames: nobody else is asked any more.
  constexpr std::chrono::seconds kMostForAnswer{2};
  while (g_question.word != answered) {
    if (std::chrono::steady_clock::now() > end + kMostForAnswer) {
      stuck = true;
      return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

std::string FrameText(void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || !info.dli_fname) return fmt::format("{}", address);
  if (info.dli_sname) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
    return status == 0 ? name.get() : info.dli_sname;
  }
  const char* slash = std::strrchr(info.dli_fname, '/');
  return fmt::format(
      "{}+{:#x}", slash ? slash + 1 : info.dli_fname,
      reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase));
}

// "name state ticks" of a thread; "" when it has ended.
std::string StateText(const char* task) {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", task));
  std::string stat;
  std::getline(file, stat);
  // pid (name) state ppid … ; utime and stime are fields 14 and 15.
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 > stat.size()) return "";
  std::istringstream fields(stat.substr(close + 2));
  std::string state, skipped;
  fields >> state;
  for (int field = 4; field < 14; ++field) fields >> skipped;
  int64_t user = 0, system = 0;
  fields >> user >> system;
  return fmt::format("{} {} {}", stat.substr(open + 1, close - open - 1), state, user + system);
}

}  // namespace

std::string DescribeThreads(std::chrono::milliseconds patience) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  static const bool installed = Install();
  std::string out;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), ::closedir);
  while (const dirent* task = tasks ? ::readdir(tasks.get()) : nullptr) {
    const pid_t thread = std::atoi(task->d_name);
    if (thread <= 0) continue;
    const std::string state = StateText(task->d_name);
    if (state.empty()) continue;
    if (!out.empty()) out += " | ";
    out += state + ": ";
    if (thread == ThisThread()) {
      out += "(writes this)";
    } else if (!installed || !Ask(thread, patience)) {
      out += "(no answer)";
    } else {
      for (int i = kHandlerFrames; i < g_question.num_frames; ++i) {
        if (i > kHandlerFrames) out += " < ";
        out += FrameText(g_question.frames[i]);
      }
    }
    if (out.size() >= kMaxStackText) {
      out.resize(kMaxStackText);
      break;
    }
  }
  return out;
}

}  // namespace rill
