#include "server/request_log.h"

#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/file_helper.h>
#include <spdlog/sinks/base_sink.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <iterator>
#include <mutex>

#include "base/utf8.h"
#include "rill/json.h"
#include "rill/stderr_writer.h"

namespace rill::server {
namespace {

constexpr size_t kQueueLines = 8192;
constexpr size_t kMaxFieldBytes = 1024;

// "2026-01-31T12:00:00.123Z"
std::string Timestamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", text, ms);
}

}  // namespace

namespace {

// stderr; a line that nobody takes is an error, which the logger counts.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit StderrSink(StderrWriter& writer) : writer_(writer) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t formatted;
    formatter_->format(message, formatted);
    if (!writer_.Write({formatted.data(), formatted.size()})) {
      throw spdlog::spdlog_ex("stderr", errno);
    }
  }
  void flush_() override {}

  StderrWriter& writer_;
};

}  // namespace

// Appends to a file that may be opened anew. Thread-safe, as every sink.
class LogFileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFileSink(std::string path) : path_(std::move(path)) { Open(); }

  // Throws when it cannot; the old one stays then.
  void Open() {
    auto next = std::make_unique<spdlog::details::file_helper>();
    next->open(path_, /*truncate=*/false);
    const std::lock_guard lock(mutex_);
    file_.swap(next);
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t formatted;
    formatter_->format(message, formatted);
    file_->write(formatted);
  }
  void flush_() override { file_->flush(); }

  const std::string path_;
  std::unique_ptr<spdlog::details::file_helper> file_;
};

LogLine::LogLine(std::string_view level, std::string_view event) : level_(level), event_(event) {}

LogLine& LogLine::Add(std::string_view key, std::string_view text) {
  json_ += fmt::format(",\"{}\":", key);
  AppendJsonString(json_, text);
  text_ += fmt::format(" {}={}", key, PrintableUtf8(text, kMaxFieldBytes));
  return *this;
}

LogLine& LogLine::Add(std::string_view key, int64_t number) {
  fmt::format_to(std::back_inserter(json_), ",\"{}\":{}", key, number);
  fmt::format_to(std::back_inserter(text_), " {}={}", key, number);
  return *this;
}

LogLine& LogLine::Add(std::string_view key, double number) {
  fmt::format_to(std::back_inserter(json_), ",\"{}\":{:.3f}", key, number);
  fmt::format_to(std::back_inserter(text_), " {}={:.3f}", key, number);
  return *this;
}

Result<std::unique_ptr<RequestLog>> RequestLog::Create(const LogOptions& options) {
  if (options.format != "text" && options.format != "json" && options.format != "none") {
    return InvalidArgument("log format: expected text, json or none, got '" + options.format + "'");
  }
  std::unique_ptr<RequestLog> log(new RequestLog(options));
  if (options.format == "none") return log;
  try {
    spdlog::sink_ptr sink;
    if (options.file.empty()) {
      sink = std::make_shared<StderrSink>(log->stderr_);
    } else {
      // spdlog would make the folders of a path that was mistyped.
      const auto folder = std::filesystem::absolute(options.file).parent_path();
      if (!std::filesystem::is_directory(folder)) {
        return InvalidArgument("log: " + options.file + ": there is no folder " + folder.string());
      }
      log->file_sink_ = std::make_shared<LogFileSink>(options.file);
      sink = log->file_sink_;
    }
    log->pool_ = std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1);
    log->logger_ = std::make_shared<spdlog::async_logger>(
        "rill", std::move(sink), log->pool_, spdlog::async_overflow_policy::overrun_oldest);
    log->logger_->set_pattern("%v");
    // A full disk is no reason to stop. The handler runs on the pool's thread, which the log joins.
    log->logger_->set_error_handler([raw = log.get()](const std::string&) {
      raw->write_errors_.fetch_add(1, std::memory_order_relaxed);
    });
    log->logger_->flush_on(spdlog::level::info);
  } catch (const std::exception& error) {
    return InvalidArgument("log: " + std::string(error.what()));
  }
  return log;
}

RequestLog::~RequestLog() {
  // The pool's destructor writes what is queued.
  logger_.reset();
  pool_.reset();
}

void RequestLog::Write(const LogLine& line) {
  if (!logger_) return;
  std::string out;
  if (options_.format == "json") {
    out = fmt::format(R"({{"time":"{}","level":"{}","event":"{}"{}}})", Timestamp(), line.level_,
                      line.event_, line.json_);
  } else {
    out = fmt::format("{} {} {}{}", Timestamp(), line.level_, line.event_, line.text_);
  }
  try {
    logger_->info(spdlog::string_view_t(out));
  } catch (const std::exception&) {
    // Nothing that a request should end for.
  }
}

Status RequestLog::Reopen() {
  if (!file_sink_) return OkStatus();
  try {
    file_sink_->Open();
  } catch (const std::exception& error) {
    return InvalidArgument("log: " + std::string(error.what()));
  }
  return OkStatus();
}

uint64_t RequestLog::lines_dropped() const {
  return write_errors_.load(std::memory_order_relaxed) + (pool_ ? pool_->overrun_counter() : 0);
}

void RequestLog::Notice(std::string_view event, std::string_view message) {
  Write(LogLine("info", event).Add("message", message));
}

void RequestLog::Error(std::string_view event, std::string_view message) {
  Write(LogLine("error", event).Add("message", message));
}

}  // namespace rill::server
