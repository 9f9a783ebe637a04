// RequestLog: what the server says about its work, one line each, as text or as JSON.
//
// Lines are written by a thread of the writer's own; when it cannot keep up, the disk is full or
// nobody reads, lines are dropped and counted, and requests go on. Text of prompts and answers is
// never logged, but for bodies when that was asked for. Everything that came from a client is
// escaped.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "rill/line_writer.h"
#include "rill/status.h"

namespace rill::server {

struct LogOptions {
  std::string format = "text";  // "text", "json", "none"
  std::string file;             // a regular file, a character device or a FIFO; "": stderr
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
  // Errors: a file that cannot be opened, or not without waiting (a FIFO that nobody reads).
  static Result<std::unique_ptr<RequestLog>> Create(const LogOptions& options);
  ~RequestLog();  // waits a moment for what is queued

  bool wants_requests() const { return writer_ && options_.requests; }
  bool wants_prompts() const { return writer_ && options_.prompts; }
  void Write(const LogLine& line);
  // Opens the file by its name again, for one that was moved away (logrotate); lines that wait go
  // to the new one. Errors: it cannot be opened; lines then go where they went.
  Status Reopen();
  void Notice(std::string_view event, std::string_view message);
  void Error(std::string_view event, std::string_view message);
  // Waits at most that long for lines that are queued.
  void Flush(std::chrono::milliseconds patience) const;
  // Texts that could not be written (disk full, reader gone) or that found the queue full: of
  // stderr, and of the file.
  uint64_t lines_dropped() const;

 private:
  explicit RequestLog(LogOptions options) : options_(std::move(options)) {}

  const LogOptions options_;
  std::unique_ptr<LineWriter> file_;  // null: stderr
  LineWriter* writer_ = nullptr;      // null: format "none"
};

}  // namespace rill::server
