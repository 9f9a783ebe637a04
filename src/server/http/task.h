// Task: a coroutine of an event loop whose waits cannot lack memory (threat I1).
//
//   Task Reader() {  // runs at once, to its first wait; ends by itself
//     const auto [error, bytes] = co_await Await(memory, [&](auto handler) {
//       socket.async_wait(Socket::wait_read, std::move(handler));
//     });
//
// (boost::asio::awaitable asks the heap for each wait; one that gets nothing posts the coroutine's
// end, and ends the process when there is no memory for that either.) Here the frame is the one
// allocation, whose std::bad_alloc the caller sees; an operation lives in `memory`, and what it
// cannot have there (a place in the heap of timers, a TLS record) is a std::bad_alloc in the
// coroutine. An exception that leaves the coroutine ends it: what is then to be done is up to the
// destructors of its locals.
//
// Threads: a task, its operations and their memory belong to one event loop's thread; a task may
// begin before that runs.
#pragma once

#include <boost/system/error_code.hpp>
#include <coroutine>
#include <cstddef>
#include <new>
#include <utility>

namespace rill::server {

class Task {
 public:
  struct promise_type {
    Task get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept {}
  };
};

// Room for one operation at a time. Outlives it. Whatever comes beside it, or is larger (composed
// operations of TLS), is of the heap.
class OperationMemory {
 public:
  OperationMemory() = default;
  OperationMemory(const OperationMemory&) = delete;
  OperationMemory& operator=(const OperationMemory&) = delete;

  void* Take(size_t bytes) {
    if (used_ || bytes > sizeof(bytes_)) return ::operator new(bytes);
    used_ = true;
    return bytes_;
  }
  void Return(void* memory) noexcept {
    if (memory == bytes_) {
      used_ = false;
    } else {
      ::operator delete(memory);
    }
  }

 private:
  alignas(std::max_align_t) std::byte bytes_[384];  // a wait takes 150
  bool used_ = false;
};

template <typename T>
struct OperationAllocator {
  using value_type = T;
  explicit OperationAllocator(OperationMemory* of) : memory(of) {}
  template <typename U>
  OperationAllocator(const OperationAllocator<U>& other) : memory(other.memory) {}
  T* allocate(size_t count) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    return static_cast<T*>(memory->Take(count * sizeof(T)));
  }
  void deallocate(T* of, size_t) noexcept { memory->Return(of); }
  template <typename U>
  bool operator==(const OperationAllocator<U>& other) const {
    return memory == other.memory;
  }

  OperationMemory* memory;
};

struct OperationResult {
  boost::system::error_code error;
  size_t bytes = 0;  // of reads and writes
};

// asio's completion handler: resumes the task. Dropped without a call (an operation of several
// steps lacked memory on its way) it destroys the task instead.
class OperationHandler {
 public:
  struct State {
    OperationResult result;
    bool begins = true;  // an exception on the way is the task's own to see
  };
  using allocator_type = OperationAllocator<void>;

  OperationHandler(std::coroutine_handle<> task, State* state, OperationMemory* memory)
      : task_(task), state_(state), memory_(memory) {}
  OperationHandler(OperationHandler&& other) noexcept
      : task_(std::exchange(other.task_, nullptr)), state_(other.state_), memory_(other.memory_) {}
  OperationHandler& operator=(OperationHandler&&) = delete;
  ~OperationHandler() {
    if (task_ && !state_->begins) task_.destroy();
  }

  allocator_type get_allocator() const noexcept { return allocator_type(memory_); }
  void operator()(boost::system::error_code error, size_t bytes = 0) {
    state_->result = {error, bytes};
    std::exchange(task_, nullptr).resume();
  }

 private:
  std::coroutine_handle<> task_;
  State* state_;
  OperationMemory* memory_;
};

// `begin(handler)` begins the operation. Throws what it throws.
template <typename Begin>
class [[nodiscard]] Await {
 public:
  Await(OperationMemory& memory, Begin begin) : memory_(&memory), begin_(std::move(begin)) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) {
    begin_(OperationHandler(task, &state_, memory_));
    state_.begins = false;
  }
  OperationResult await_resume() const noexcept { return state_.result; }

 private:
  OperationMemory* memory_;
  Begin begin_;
  OperationHandler::State state_;
};

}  // namespace rill::server
