// What the threads of this process are doing: for the log, when something hangs.
#pragma once

#include <chrono>
#include <string>

namespace rill {

// Every thread as "name state ticks: frame < frame < …", joined by " | ", at most kMaxStackText
// bytes. state: as in /proc (R runs, S sleeps, D waits for a device). ticks: of processor time,
// user and system, in units of sysconf(_SC_CLK_TCK). A frame is a function's name, or
// "file+0xOFFSET" for `addr2line -Cfe FILE OFFSET`; the innermost first.
//
// The program's own functions have their names in its symbol table, which is why the package is not
// stripped.
//
// Each thread is interrupted by SIGURG (by default ignored, and nobody else's here) and walks its
// own stack; one that does not within `patience`, because it is in state D or blocks all signals,
// has "(no answer)", as have all after one that began its answer and did not end it in 2 s more,
// for as long as the process lives. Takes memory, and the loader's lock for names: of the locks
// that a thread of this program may be stopped at, only those. Any thread, one at a time: a second
// one waits.
std::string DescribeThreads(std::chrono::milliseconds patience = std::chrono::milliseconds(200));

inline constexpr size_t kMaxStackText = size_t{64} << 10;

}  // namespace rill
