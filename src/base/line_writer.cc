#include "rill/line_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace rill {

struct LineWriter::State {
  std::mutex mutex;
  std::condition_variable work;  // a text, a descriptor, or the end
  std::condition_variable done;  // nothing waits, or the descriptor was taken
  // All guarded by the mutex; fd and is_cut change on the thread only.
  std::deque<std::string> queue;
  size_t queued_bytes = 0;  // of the queue
  uint64_t dropped = 0;
  int fd = -1;
  int next_fd = -1;      // taken instead of fd before the next byte; -1: none
  bool is_cut = false;   // a text ended in the middle of a line
  bool writing = false;  // a text is out of the queue and not yet written
  bool started = false;
  bool ended = false;  // no text comes any more

  ~State() {
    for (const int open : {fd, next_fd}) {
      if (open >= 0) close(open);
    }
  }
};

LineWriter& LineWriter::Stderr() {
  // Never destroyed: its thread may be in a write for ever.
  static LineWriter& writer = *new LineWriter(fcntl(2, F_DUPFD_CLOEXEC, 3));
  return writer;
}

LineWriter::LineWriter(int fd) : state_(std::make_shared<State>()) {
  state_->fd = fd;
}

LineWriter::~LineWriter() {
  const std::lock_guard lock(state_->mutex);
  state_->ended = true;
  state_->work.notify_one();
}

void LineWriter::Write(std::string text) noexcept {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (state.queued_bytes >= kMaxQueuedBytes) {
    ++state.dropped;
    return;
  }
  try {
    if (!state.started) {
      // No signal may interrupt it, or end the process while another thread waits for it.
      sigset_t all, before;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      try {
        std::thread([shared = state_] { Run(shared); }).detach();
        state.started = true;
      } catch (const std::system_error&) {
      } catch (const std::bad_alloc&) {
      }
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (!state.started) {
        ++state.dropped;
        return;
      }
    }
    const size_t size = text.size();
    state.queue.push_back(std::move(text));
    state.queued_bytes += size;
  } catch (const std::bad_alloc&) {
    ++state.dropped;
  }
  state.work.notify_one();
}

bool LineWriter::Flush(std::chrono::milliseconds patience) const {
  std::unique_lock lock(state_->mutex);
  return state_->done.wait_for(lock, patience,
                               [&] { return state_->queue.empty() && !state_->writing; });
}

void LineWriter::Switch(int fd, std::chrono::milliseconds patience) {
  std::unique_lock lock(state_->mutex);
  if (state_->next_fd >= 0) close(state_->next_fd);
  state_->next_fd = fd;
  state_->work.notify_one();
  if (!state_->started) return;
  state_->done.wait_for(lock, patience, [&] { return state_->next_fd < 0; });
}

uint64_t LineWriter::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->dropped;
}

void LineWriter::Run(const std::shared_ptr<State>& shared) {
  pthread_setname_np(pthread_self(), "rill-lines");
  State& state = *shared;
  std::unique_lock lock(state.mutex);
  while (true) {
    if (state.next_fd >= 0) {
      if (state.fd >= 0) close(state.fd);
      state.fd = std::exchange(state.next_fd, -1);
      state.is_cut = false;
      state.done.notify_all();
    }
    if (state.queue.empty()) {
      if (state.ended) return;
      state.done.notify_all();
      state.work.wait(lock);
      continue;
    }
    const std::string text = std::move(state.queue.front());
    state.queue.pop_front();
    state.queued_bytes -= text.size();
    state.writing = true;
    lock.unlock();
    const bool written = WriteText(state, text);
    lock.lock();
    state.writing = false;
    if (!written) ++state.dropped;
  }
}

// False when not all of it was written. The mutex is not held.
bool LineWriter::WriteText(State& state, const std::string& text) {
  std::unique_lock lock(state.mutex, std::defer_lock);
  std::string_view rest = text;
  bool begun = false, waited = false;
  while (!rest.empty()) {
    const std::string_view part = state.is_cut ? std::string_view("\n") : rest;
    const ssize_t written = write(state.fd, part.data(), part.size());
    if (written > 0) {
      waited = false;
      if (state.is_cut) {
        state.is_cut = false;
        continue;
      }
      begun = true;
      rest.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    if (written == 0 || errno != EAGAIN) break;
    // A descriptor that does not block, and nobody reads. One that is ready all the same (a
    // terminal with a byte of room, where a line's end takes two) is not asked in a circle.
    pollfd entry = {.fd = state.fd, .events = POLLOUT, .revents = 0};
    if (poll(&entry, 1, 50) > 0 && waited)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    waited = true;
    lock.lock();
    const bool switched = state.next_fd >= 0;
    const bool given_up = state.ended || (switched && begun);
    if (switched && !begun) {
      close(state.fd);
      state.fd = std::exchange(state.next_fd, -1);
      state.is_cut = false;
      state.done.notify_all();
    }
    lock.unlock();
    if (given_up) break;
  }
  if (!rest.empty()) state.is_cut = state.is_cut || begun;
  return rest.empty();
}

}  // namespace rill
