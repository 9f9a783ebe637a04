#include "io/mapping_fault.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>

namespace rill::io {
namespace {

struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0: nothing registered; written last
  std::atomic<uintptr_t> end{0};
  std::atomic<const char*> path{nullptr};
};

constexpr int kNumSlots = 2048;
Slot g_slots[kNumSlots];  // NOLINT: read by a signal handler, so static storage and no locks
struct sigaction g_previous;

void WriteText(const char* text) {
  size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t n = ::write(STDERR_FILENO, text, left);
    if (n <= 0) return;
    text += n;
    left -= static_cast<size_t>(n);
  }
}

// Only async-signal-safe calls from here on.
void OnSigbus(int signal_number, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Slot& slot : g_slots) {
    const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= slot.end.load(std::memory_order_relaxed)) {
      continue;
    }
    WriteText("rill: ");
    const char* path = slot.path.load(std::memory_order_relaxed);
    WriteText(path ? path : "a model file");
    WriteText(
        ": the file was truncated or its disk failed while the model was in use (mapped);"
        " stopping. Replace model files by renaming, or load without memory mapping.\n");
    ::_exit(kMappingFaultExitCode);
  }
  if (g_previous.sa_flags & SA_SIGINFO) {
    g_previous.sa_sigaction(signal_number, info, context);
  } else if (g_previous.sa_handler == SIG_DFL || g_previous.sa_handler == SIG_IGN) {
    // The faulting instruction runs again after the return and meets the default.
    struct sigaction fallback = {};
    fallback.sa_handler = SIG_DFL;
    ::sigaction(SIGBUS, &fallback, nullptr);
  } else {
    g_previous.sa_handler(signal_number);
  }
}

}  // namespace

void InstallMappingFaultHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_previous);
  });
}

int RegisterMapping(const void* begin, size_t size_bytes, const char* path) {
  for (int i = 0; i < kNumSlots; ++i) {
    bool expected = false;
    if (!g_slots[i].taken.compare_exchange_strong(expected, true)) continue;
    const auto address = reinterpret_cast<uintptr_t>(begin);
    g_slots[i].path.store(path, std::memory_order_relaxed);
    g_slots[i].end.store(address + size_bytes, std::memory_order_relaxed);
    g_slots[i].begin.store(address, std::memory_order_release);
    return i;
  }
  return -1;
}

void UnregisterMapping(int slot) {
  if (slot < 0) return;
  g_slots[slot].begin.store(0, std::memory_order_release);
  g_slots[slot].path.store(nullptr, std::memory_order_relaxed);
  g_slots[slot].taken.store(false, std::memory_order_release);
}

}  // namespace rill::io
