// RequestLog: what the server says about its work, one line each, as text or as JSON.
//
// Lines are written by a thread of the log's own; when it cannot keep up, the disk is full or
// nobody reads stderr, lines are dropped and counted, and requests go on. Text of prompts and
// answers is never logged, but for bodies when that was asked for. Everything that came from a
// client is escaped.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "rill/status.h"
#include "rill/stderr_writer.h"

namespace spdlog {
class logger;
namespace details {
class thread_pool;
}
}  // namespace spdlog

namespace rill::server {

class LogFileSink;

struct LogOptions {
  std::string format = "text";  // "text", "json", "none"
  std::string file;             // "": stderr
  bool requests = true;
  bool prompts = false;
};

// A line in the making: fields in order.
class LogLine {
 public:
  LogLine(std::string_view level, std::string_view event);
  LogLine& Add(std::string_view key, std::string_view text);
  LogLine& Add(std::string_view key, int64_t number);
  LogLine& Add(std::string_view key, double number);

 private:
  friend class RequestLog;
  std::string level_, event_;
  std::string json_;  // ,"key":value…
  std::string text_;  //  key=value…
};

class RequestLog {
 public:
  // Errors: a file that cannot be opened.
  static Result<std::unique_ptr<RequestLog>> Create(const LogOptions& options);
  ~RequestLog();

  bool wants_requests() const { return logger_ && options_.requests; }
  bool wants_prompts() const { return logger_ && options_.prompts; }
  void Write(const LogLine& line);
  // Opens the file by its name again, for one that was moved away (logrotate); lines that wait go
  // to the new one. Errors: it cannot be opened; lines then go where they went.
  Status Reopen();
  void Notice(std::string_view event, std::string_view message);
  void Error(std::string_view event, std::string_view message);
  // Lines that could not be written (disk full, reader gone) or that a full queue pushed out.
  uint64_t lines_dropped() const;

 private:
  explicit RequestLog(LogOptions options) : options_(std::move(options)) {}

  const LogOptions options_;
  StderrWriter stderr_;
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<LogFileSink> file_sink_;  // null: stderr
  std::shared_ptr<spdlog::logger> logger_;  // null: format "none"
  std::atomic<uint64_t> write_errors_{0};
};

}  // namespace rill::server
