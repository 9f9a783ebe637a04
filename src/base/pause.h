// Pause: one turn of a loop that waits for another thread.
#pragma once

#include <thread>

namespace rill {

inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// turn: how many there were. After some 25 us the thread that is waited for may need this CPU.
inline void Pause(int turn) {
  constexpr int kSpins = 1000;
  if (turn < kSpins) {
    CpuRelax();
  } else {
    std::this_thread::yield();
  }
}

}  // namespace rill
