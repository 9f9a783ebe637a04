// What happens when a mapped model file is truncated, or its disk fails, while Rill runs.
//
// The kernel answers a read of bytes that are no longer there with SIGBUS, in whichever thread
// reads them, perhaps in the middle of a kernel: there is nothing to return an error to. So the
// policy is: one line on standard error that names the file, then exit with kMappingFaultExitCode.
// Whoever cannot accept that opens with OpenOptions::use_mmap = false.
// Any other SIGBUS goes to whoever handled it before.
#pragma once

#include <cstddef>

namespace rill::io {

inline constexpr int kMappingFaultExitCode = 74;  // EX_IOERR of sysexits.h

// Installs the SIGBUS handler, once per process; later calls do nothing. For a program's main():
// a library has no business with signals unless it is asked. The first thread's alternate signal
// stack is not needed: the handler uses a few hundred bytes.
void InstallMappingFaultHandler();

// For MappedFile: remembers [begin, begin + size_bytes) as a mapping of `path`, which must stay
// valid until UnregisterMapping. Returns the slot, or -1 when all slots are taken (such a mapping
// works, but its faults are reported without a name). Thread-safe, lock-free.
int RegisterMapping(const void* begin, size_t size_bytes, const char* path);
void UnregisterMapping(int slot);

}  // namespace rill::io
