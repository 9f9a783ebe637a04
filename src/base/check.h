// CHECK(condition) << details: our own invariants, kept in release builds. A failing CHECK is a
// defect of Rill, prints file, line, condition and details, and aborts. Nothing that comes from
// outside is guarded by CHECK: that gets a Status. DCHECK is for inner loops, off in release.
#pragma once

#include <sstream>

namespace rill::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct CheckVoidify {
  void operator&(std::ostream&) {}
};

}  // namespace rill::internal

#define CHECK(condition)                           \
  (condition) ? (void)0                            \
              : ::rill::internal::CheckVoidify() & \
                    ::rill::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

#ifdef NDEBUG
#define DCHECK(condition) CHECK(true || (condition))
#else
#define DCHECK(condition) CHECK(condition)
#endif
