#include "rill/stderr_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <string>

namespace rill {

bool StderrWriter::Write(std::string_view text, std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  const std::lock_guard lock(mutex_);
  const Clock::time_point deadline =
      Clock::now() + (stalled_ ? std::chrono::milliseconds(0) : patience);
  std::string with_break;
  if (is_cut_) {
    with_break = "\n";
    with_break += text;
    text = with_break;
  }
  const size_t size = text.size();
  while (!text.empty()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry = {.fd = fd_, .events = POLLOUT, .revents = 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    ssize_t written = -1;
    if (ready == 0) errno = EAGAIN;
    // A pipe that is ready takes PIPE_BUF bytes without blocking.
    if (ready > 0) written = write(fd_, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (written < 0 && ready > 0 && (errno == EINTR || (errno == EAGAIN && left.count() > 0))) {
      continue;
    }
    if (written <= 0) {
      stalled_ = errno == EAGAIN;
      is_cut_ = is_cut_ || text.size() < size;
      return false;
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  stalled_ = is_cut_ = false;
  return true;
}

}  // namespace rill
