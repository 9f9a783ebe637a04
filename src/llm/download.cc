#include "llm/download.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/sha256.h"
#include "rill/file_error.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDelayMs = 30'000;
constexpr int kMaxRetryAfterS = 120;
// A server that sends one byte per connection must not keep us for ever.
constexpr int kMaxAttemptsInAll = 1000;
// A question (a listing, a small text) has no bytes to lose: who is offline hears so in 3.5 s.
constexpr int kMaxAttemptsOfAQuestion = 4;
constexpr uint64_t kSpareDiskBytes = 16u << 20;
constexpr uint64_t kMaxGitBlobBytes = 256u << 20;

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// False when cancelled meanwhile.
bool Sleep(int milliseconds, const std::function<bool()>& is_cancelled) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (std::chrono::steady_clock::now() < end) {
    if (is_cancelled && is_cancelled()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

bool IsTransient(int status) {
  return status == 408 || status == 429 || status >= 500;
}

// Counts attempts and waits between them.
class Retry {
 public:
  explicit Retry(const TransferSettings& settings)
      : settings_(settings), delay_ms_(settings.retry_delay_ms) {}

  // Waits before another attempt. `error` when there is none left, kCancelled when told to stop.
  Status Next(const Status& error, std::string_view retry_after, bool made_progress) {
    if (made_progress) {
      attempts_ = 0;
      delay_ms_ = settings_.retry_delay_ms;
    }
    if (++attempts_ >= settings_.max_attempts || ++attempts_in_all_ >= kMaxAttemptsInAll) {
      return Status(error.code(), error.message() + " (" + std::to_string(attempts_) +
                                      " attempts without a new byte)");
    }
    int wait_ms = delay_ms_;
    if (const auto seconds = ParseNumber(retry_after)) {
      wait_ms = 1000 * static_cast<int>(std::min<uint64_t>(*seconds, kMaxRetryAfterS));
    }
    delay_ms_ = std::min(2 * delay_ms_, kMaxDelayMs);
    return Sleep(wait_ms, settings_.is_cancelled) ? OkStatus() : Cancelled("download: stopped");
  }

 private:
  const TransferSettings& settings_;
  int delay_ms_;
  int attempts_ = 0;
  int attempts_in_all_ = 0;
};

// What <path>.part.json says.
struct PartInfo {
  std::string identity;
  std::string etag;
};

PartInfo ReadPartInfo(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text(64u << 10, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  PartInfo info;
  const auto json = Json::Parse(text, path);
  if (!json.ok()) return info;
  if (auto value = json->GetString("identity", ""); value.ok()) info.identity = *value;
  if (auto value = json->GetString("etag", ""); value.ok()) info.etag = *value;
  return info;
}

void WritePartInfo(const std::string& path, const PartInfo& info) {
  Json json;
  json.Set("identity", info.identity);
  json.Set("etag", info.etag);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << json.Dump() << "\n";
}

// The open <path>.part with its running hash.
class PartFile {
 public:
  PartFile(const std::string& path, std::string identity)
      : path_(path + ".part"), info_path_(path + ".part.json") {
    info_.identity = std::move(identity);
  }
  ~PartFile() { Close(); }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  const std::string& etag() const { return info_.etag; }

  // Opens it; what an earlier call left is kept and hashed when it is the same thing.
  Status Open(uint64_t max_bytes, const std::function<bool()>& is_cancelled) {
    const PartInfo old = ReadPartInfo(info_path_);
    const bool same = !info_.identity.empty() && old.identity == info_.identity;
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd_ < 0) return FileError(path_ + ": cannot be written: " + std::strerror(errno), errno);
    if (!same) return Restart("");
    info_.etag = old.etag;
    std::string buffer(1u << 20, '\0');
    for (;;) {
      const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
      if (got < 0) return DataLoss(path_ + ": cannot be read: " + std::strerror(errno));
      if (got == 0) break;
      hash_.Update({buffer.data(), static_cast<size_t>(got)});
      size_bytes_ += static_cast<uint64_t>(got);
      if (is_cancelled && is_cancelled()) return Cancelled("download: stopped");
    }
    return size_bytes_ > max_bytes ? Restart("") : OkStatus();
  }

  // Throws away the bytes; `etag` belongs to those that will follow.
  Status Restart(const std::string& etag) {
    hash_.Reset();
    size_bytes_ = 0;
    SetEtag(etag);
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) {
      return FileError(path_ + ": cannot be emptied: " + std::strerror(errno), errno);
    }
    return OkStatus();
  }

  void SetEtag(const std::string& etag) {
    info_.etag = etag;
    WritePartInfo(info_path_, info_);
  }

  Status Append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) {
        const std::string message =
            path_ + ": cannot be written: " + (written < 0 ? std::strerror(errno) : "disk full");
        return FileError(message, written < 0 ? errno : ENOSPC);
      }
      hash_.Update(bytes.substr(0, static_cast<size_t>(written)));
      size_bytes_ += static_cast<uint64_t>(written);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return OkStatus();
  }

  std::string FinishHash() { return hash_.Finish(); }

  void Remove() {
    Close();
    ::unlink(path_.c_str());
    ::unlink(info_path_.c_str());
  }

  Status MoveTo(const std::string& final_path) {
    // The name must not be there before the bytes are, also after a power cut.
    ::fdatasync(fd_);
    Close();
    std::error_code error;
    fs::rename(path_, final_path, error);
    if (error)
      return FileError(final_path + ": cannot be put in place: " + error.message(), error.value());
    ::unlink(info_path_.c_str());
    return OkStatus();
  }

 private:
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  std::string path_;
  std::string info_path_;
  PartInfo info_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  Sha256 hash_;
};

// "bytes 100-199/200" -> {100, 200}; total nullopt for "*".
struct ContentRange {
  uint64_t begin = 0;
  std::optional<uint64_t> total;
};
std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) {
    return std::nullopt;
  }
  const auto begin = ParseNumber(text.substr(0, dash));
  if (!begin) return std::nullopt;
  return ContentRange{*begin, ParseNumber(text.substr(slash + 1))};
}

// One file on its way: attempts until it is whole.
class Transfer {
 public:
  Transfer(const DownloadRequest& request, const TransferSettings& settings,
           const ByteProgress& on_progress)
      : request_(request),
        settings_(settings),
        on_progress_(on_progress),
        part_(request.path, request.identity) {}

  Result<DownloadOutcome> Run() {
    const uint64_t most =
        request_.expected_size_bytes ? request_.expected_size_bytes : request_.max_bytes;
    if (request_.expected_size_bytes > request_.max_bytes) {
      return TooLarge(request_.expected_size_bytes);
    }
    RILL_RETURN_IF_ERROR(part_.Open(most, settings_.is_cancelled));
    bool resumed = part_.size_bytes() > 0;
    RILL_RETURN_IF_ERROR(CheckDiskSpace(fs::path(request_.path).parent_path().string(),
                                        request_.expected_size_bytes > part_.size_bytes()
                                            ? request_.expected_size_bytes - part_.size_bytes()
                                            : 0,
                                        request_.culprit));
    for (;;) {
      RILL_RETURN_IF_ERROR(FetchAll());
      auto checked = Verify();
      if (checked.ok()) {
        RILL_RETURN_IF_ERROR(part_.MoveTo(request_.path));
        return checked;
      }
      // Bytes of an earlier call may be the wrong ones: begin anew, once.
      if (!resumed || checked.status().code() != StatusCode::kDataLoss) {
        part_.Remove();
        return checked;
      }
      resumed = false;
      RILL_RETURN_IF_ERROR(part_.Restart(""));
    }
  }

 private:
  Status TooLarge(uint64_t size_bytes) const {
    return ResourceExhausted(request_.culprit + ": expected at most " +
                             std::to_string(request_.max_bytes) + " bytes, the server has " +
                             std::to_string(size_bytes));
  }

  bool IsWhole() const {
    return total_bytes_ ? part_.size_bytes() == *total_bytes_
                        : request_.expected_size_bytes > 0 &&
                              part_.size_bytes() == request_.expected_size_bytes;
  }

  Status FetchAll() {
    total_bytes_.reset();
    Retry retry(settings_);
    while (!IsWhole()) {
      const uint64_t before = part_.size_bytes();
      HttpRequest http{request_.url, request_.bearer_token, before, part_.etag(),
                       settings_.timeouts};
      HttpCallbacks callbacks;
      callbacks.is_cancelled = settings_.is_cancelled;
      callbacks.on_headers = [this](const HttpResponse& response) { return OnHeaders(response); };
      callbacks.on_bytes = [this](std::string_view bytes) { return OnBytes(bytes); };
      const auto response = HttpGet(http, callbacks);
      if (restart_) {
        restart_ = false;
        RILL_RETURN_IF_ERROR(part_.Restart(""));
        RILL_RETURN_IF_ERROR(retry.Next(
            Unavailable(request_.culprit + ": the server answers with other ranges than asked"), "",
            false));
        continue;
      }
      Status error = response.status().WithPrefix(request_.culprit);
      std::string_view retry_after;
      bool transient = error.code() == StatusCode::kUnavailable;
      if (response.ok()) {
        if (response->status >= 200 && response->status < 300) {
          // Without a length the end of the stream is the end of the file.
          if (!total_bytes_ && !request_.expected_size_bytes) return OkStatus();
          if (IsWhole()) return OkStatus();
          error = Unavailable(request_.culprit + ": the transfer ended after " +
                              std::to_string(part_.size_bytes()) + " bytes");
          transient = true;
        } else if (response->status == 416 && before > 0) {
          RILL_RETURN_IF_ERROR(part_.Restart(""));
          error = Unavailable(request_.culprit + ": the server refuses to go on at byte " +
                              std::to_string(before));
          transient = true;
        } else {
          error = HttpError(request_.culprit, *response, !request_.bearer_token.empty());
          transient = IsTransient(response->status);
          retry_after = response->Header("retry-after");
        }
      }
      if (!transient) return error;
      RILL_RETURN_IF_ERROR(retry.Next(error, retry_after, part_.size_bytes() > before));
    }
    return OkStatus();
  }

  Status OnHeaders(const HttpResponse& response) {
    // A weak ETag does not promise equal bytes.
    std::string etag(response.Header("etag"));
    if (etag.starts_with("W/") || etag.size() > 1024) etag.clear();
    std::optional<uint64_t> total = ParseNumber(response.Header("content-length"));
    if (response.status == 206) {
      const auto range = ParseContentRange(response.Header("content-range"));
      if (!range || range->begin != part_.size_bytes()) {
        restart_ = true;
        return Unavailable("wrong range");
      }
      total = range->total;
    } else if (part_.size_bytes() > 0) {
      RILL_RETURN_IF_ERROR(part_.Restart(etag));
    } else {
      part_.SetEtag(etag);
    }
    total_bytes_ = total;
    if (!total) return OkStatus();
    if (*total > request_.max_bytes) return TooLarge(*total);
    if (request_.expected_size_bytes && *total != request_.expected_size_bytes) {
      return DataLoss(request_.culprit + ": expected " +
                      std::to_string(request_.expected_size_bytes) +
                      " bytes, the server sends a file of " + std::to_string(*total));
    }
    return CheckDiskSpace(fs::path(request_.path).parent_path().string(),
                          *total - std::min(*total, part_.size_bytes()), request_.culprit);
  }

  Status OnBytes(std::string_view bytes) {
    const uint64_t most = total_bytes_                   ? *total_bytes_
                          : request_.expected_size_bytes ? request_.expected_size_bytes
                                                         : request_.max_bytes;
    if (bytes.size() > most - std::min(most, part_.size_bytes())) {
      return DataLoss(request_.culprit + ": the server sends more than the " +
                      std::to_string(most) + " bytes it may");
    }
    RILL_RETURN_IF_ERROR(part_.Append(bytes));
    fetched_bytes_ += bytes.size();
    if (on_progress_) {
      on_progress_(part_.size_bytes(), total_bytes_ ? *total_bytes_ : request_.expected_size_bytes);
    }
    return OkStatus();
  }

  Result<DownloadOutcome> Verify() {
    DownloadOutcome outcome{part_.size_bytes(), part_.FinishHash(), fetched_bytes_};
    if (!request_.expected_sha256.empty() && outcome.sha256 != request_.expected_sha256) {
      return DataLoss(request_.culprit + ": expected SHA-256 " + request_.expected_sha256 +
                      ", got " + outcome.sha256);
    }
    if (!request_.expected_git_blob_id.empty() && outcome.size_bytes <= kMaxGitBlobBytes) {
      RILL_ASSIGN_OR_RETURN(const std::string id, GitBlobId(part_.path()));
      if (id != request_.expected_git_blob_id) {
        return DataLoss(request_.culprit + ": expected git blob " + request_.expected_git_blob_id +
                        ", got " + id);
      }
    }
    return outcome;
  }

  const DownloadRequest& request_;
  const TransferSettings& settings_;
  const ByteProgress& on_progress_;
  PartFile part_;
  std::optional<uint64_t> total_bytes_;  // as the server says
  uint64_t fetched_bytes_ = 0;
  bool restart_ = false;
};

}  // namespace

Result<DownloadOutcome> Download(const DownloadRequest& request, const TransferSettings& settings,
                                 const ByteProgress& on_progress) {
  return Transfer(request, settings, on_progress).Run();
}

Result<HttpText> FetchText(const HttpRequest& request, const std::string& culprit, size_t max_bytes,
                           const TransferSettings& settings) {
  TransferSettings patience = settings;
  patience.max_attempts = std::min(patience.max_attempts, kMaxAttemptsOfAQuestion);
  Retry retry(patience);
  for (;;) {
    auto text = HttpGetText(request, max_bytes, settings.is_cancelled);
    Status error = text.status().WithPrefix(culprit);
    std::string retry_after;
    if (text.ok()) {
      if (text->response.status >= 200 && text->response.status < 300) return text;
      error = HttpError(culprit, text->response, !request.bearer_token.empty());
      if (!IsTransient(text->response.status)) return error;
      retry_after = text->response.Header("retry-after");
    } else if (error.code() != StatusCode::kUnavailable) {
      return error;
    }
    RILL_RETURN_IF_ERROR(retry.Next(error, retry_after, false));
  }
}

Status HttpError(const std::string& culprit, const HttpResponse& response, bool had_token) {
  const std::string number = std::to_string(response.status);
  std::string detail(response.Header("x-error-message"));
  if (!detail.empty()) detail = " (" + PrintableUtf8(detail, 200) + ")";
  const std::string_view code = response.Header("x-error-code");
  switch (response.status) {
    case 401:
    case 403:
      if (code == "GatedRepo") {
        return FailedPrecondition(
            culprit + ": gated: its owner wants the terms accepted on the repository's web page" +
            (had_token ? ", by the account that HF_TOKEN belongs to"
                       : ", and then HF_TOKEN set to a token of that account") +
            detail);
      }
      return FailedPrecondition(
          culprit + ": the server refuses (" + number + "): " +
          (had_token ? "HF_TOKEN's account may not read it, or there is no such repository"
                     : "it is private or gated (set HF_TOKEN), or there is no such repository") +
          detail);
    case 404:
    case 410:
      return NotFound(culprit + ": no such repository, revision or file (" + number + ")" + detail);
    case 429: return Unavailable(culprit + ": too many requests (429); try again later" + detail);
    default:
      if (response.status >= 500) {
        return Unavailable(culprit + ": the server failed (" + number + ")" + detail);
      }
      return FailedPrecondition(culprit + ": unexpected answer " + number + detail);
  }
}

Status CheckDiskSpace(const std::string& folder, uint64_t needed_bytes,
                      const std::string& culprit) {
  struct statvfs info;
  if (needed_bytes == 0 || ::statvfs(folder.c_str(), &info) != 0) return OkStatus();
  const uint64_t free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  if (free_bytes >= kSpareDiskBytes && free_bytes - kSpareDiskBytes >= needed_bytes) {
    return OkStatus();
  }
  return ResourceExhausted(culprit + ": needs " + std::to_string(needed_bytes >> 20) +
                           " MiB more in " + folder + ", whose disk has " +
                           std::to_string(free_bytes >> 20) + " MiB free");
}

}  // namespace rill::llm
