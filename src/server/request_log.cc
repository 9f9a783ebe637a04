#include "server/request_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <iterator>
#include <utility>

#include "base/utf8.h"
#include "rill/file_error.h"
#include "rill/json.h"
#include "server/http/unique_fd.h"

namespace rill::server {
namespace {

constexpr size_t kMaxFieldBytes = 1024;
constexpr std::chrono::milliseconds kPatience{500};

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

// Neither waits for the reader of a FIFO nor lets later writes wait for it: the descriptor is of
// this log alone, also where the path is /dev/stdout.
Result<int> OpenLogFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(),
                     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666));
  if (fd.get() < 0) {
    const int error = errno;
    // A socket says the same, as stdout of a service whose output goes to the journal.
    const char* const text =
        error == ENXIO ? "a FIFO that nobody reads, or a socket" : std::strerror(error);
    return FileError(fmt::format("log: {}: cannot be opened: {}", PrintableUtf8(path), text),
                     error);
  }
  struct stat entry = {};
  if (::fstat(fd.get(), &entry) != 0 ||
      !(S_ISREG(entry.st_mode) || S_ISCHR(entry.st_mode) || S_ISFIFO(entry.st_mode))) {
    return InvalidArgument(fmt::format(
        "log: {}: expected a regular file, a character device or a FIFO", PrintableUtf8(path)));
  }
  return fd.Release();
}

}  // namespace

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
  if (options.file.empty()) {
    log->writer_ = &LineWriter::Stderr();
    return log;
  }
  RILL_ASSIGN_OR_RETURN(const int fd, OpenLogFile(options.file));
  log->file_ = std::make_unique<LineWriter>(fd);
  log->writer_ = log->file_.get();
  return log;
}

RequestLog::~RequestLog() {
  Flush(kPatience);
}

void RequestLog::Write(const LogLine& line) {
  if (!writer_) return;
  std::string out;
  if (options_.format == "json") {
    out = fmt::format(R"({{"time":"{}","level":"{}","event":"{}"{}}})", Timestamp(), line.level_,
                      line.event_, line.json_);
  } else {
    out = fmt::format("{} {} {}{}", Timestamp(), line.level_, line.event_, line.text_);
  }
  out += '\n';
  writer_->Write(std::move(out));
}

Status RequestLog::Reopen() {
  if (!file_) return OkStatus();
  RILL_ASSIGN_OR_RETURN(const int fd, OpenLogFile(options_.file));
  file_->Switch(fd, kPatience);
  return OkStatus();
}

void RequestLog::Flush(std::chrono::milliseconds patience) const {
  if (writer_) writer_->Flush(patience);
}

uint64_t RequestLog::lines_dropped() const {
  return LineWriter::Stderr().dropped() + (file_ ? file_->dropped() : 0);
}

void RequestLog::Notice(std::string_view event, std::string_view message) {
  Write(LogLine("info", event).Add("message", message));
}

void RequestLog::Error(std::string_view event, std::string_view message) {
  Write(LogLine("error", event).Add("message", message));
}

}  // namespace rill::server
