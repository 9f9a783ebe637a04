// Status and Result<T>: how every fallible call of Rill answers.
//
// A message names the culprit, what was expected and what was found:
//   "model.gguf: tensor 'blk.3.attn_k.weight': expected shape [192, 576], file has [576, 192]"
// Status is a value: copyable, thread-compatible, never thrown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace rill {

enum class StatusCode : uint8_t {
  kOk = 0,
  kInvalidArgument,     // a request, flag, file or shape is wrong; retrying as is cannot succeed
  kNotFound,            // file, model, tensor or route does not exist
  kUnsupported,         // well-formed, but Rill cannot do it; the message lists what it can
  kResourceExhausted,   // memory, pages, queue or a stated limit
  kFailedPrecondition,  // the object is in a state that does not allow the call
  kUnavailable,         // may succeed later: network, busy
  kDataLoss,            // bytes changed or were lost: checksum, truncated while mapped
  kCancelled,           // the caller asked for it
  kInternal,            // our own defect
};

// "ok", "invalid_argument", …: stable words for JSON and logs.
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // "invalid_argument: …", or "ok".
  std::string ToString() const;
  // The same error with "prefix: " before its message: adds the culprit on the way up.
  Status WithPrefix(std::string_view prefix) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() {
  return {};
}
inline Status InvalidArgument(std::string message) {
  return {StatusCode::kInvalidArgument, std::move(message)};
}
inline Status NotFound(std::string message) {
  return {StatusCode::kNotFound, std::move(message)};
}
inline Status Unsupported(std::string message) {
  return {StatusCode::kUnsupported, std::move(message)};
}
inline Status ResourceExhausted(std::string message) {
  return {StatusCode::kResourceExhausted, std::move(message)};
}
inline Status FailedPrecondition(std::string message) {
  return {StatusCode::kFailedPrecondition, std::move(message)};
}
inline Status Unavailable(std::string message) {
  return {StatusCode::kUnavailable, std::move(message)};
}
inline Status DataLoss(std::string message) {
  return {StatusCode::kDataLoss, std::move(message)};
}
inline Status Cancelled(std::string message) {
  return {StatusCode::kCancelled, std::move(message)};
}
inline Status Internal(std::string message) {
  return {StatusCode::kInternal, std::move(message)};
}

// A value or the error that stood in its way. Reading value() of an error ends the process with
// the error's message (a defect of the caller).
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}       // NOLINT: implicit
  Result(Status error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  T& value() & { return Get(*this); }
  const T& value() const& { return Get(*this); }
  T&& value() && { return std::move(Get(*this)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }

 private:
  template <typename Self>
  static auto& Get(Self& self) {
    if (!self.ok()) AbortOnBadResult(std::get<1>(self.state_));
    return std::get<0>(self.state_);
  }
  std::variant<T, Status> state_;
};

[[noreturn]] void AbortOnBadResult(const Status& status);

}  // namespace rill

#define RILL_CONCAT_INNER_(a, b) a##b
#define RILL_CONCAT_(a, b) RILL_CONCAT_INNER_(a, b)

// Returns the error from the enclosing function, which returns Status or Result<T>.
#define RILL_RETURN_IF_ERROR(expr)               \
  do {                                           \
    ::rill::Status rill_status_ = (expr);        \
    if (!rill_status_.ok()) return rill_status_; \
  } while (false)

// RILL_ASSIGN_OR_RETURN(auto file, OpenFile(path));
#define RILL_ASSIGN_OR_RETURN(lhs, expr) \
  RILL_ASSIGN_OR_RETURN_IMPL_(RILL_CONCAT_(rill_result_, __LINE__), lhs, expr)
#define RILL_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) return result.status();            \
  lhs = std::move(result).value()
