// Download: one file from a URL to its place, resumable and checked.
//
// The bytes go to <path>.part, with <path>.part.json beside it saying what they are; a later call
// for the same thing goes on from there (Range + If-Range), whatever ended the first one. Only a
// complete file with the right size and hash is renamed to <path>.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "llm/http_client.h"
#include "rill/status.h"

namespace rill::llm {

struct TransferSettings {
  HttpTimeouts timeouts;
  int max_attempts = 6;      // without a new byte in between
  int retry_delay_ms = 500;  // doubled after each attempt, at most 30 s; Retry-After is honoured
  std::function<bool()> is_cancelled;
};

struct DownloadRequest {
  std::string url;
  std::string bearer_token;
  std::string path;      // final place; its folder exists
  std::string identity;  // what these bytes are; a part file of another identity is thrown away
  std::string culprit;   // starts every error message
  uint64_t expected_size_bytes = 0;  // 0: unknown
  std::string expected_sha256;       // empty: unknown
  std::string expected_git_blob_id;  // empty: unknown
  uint64_t max_bytes = uint64_t{4} << 40;
};

struct DownloadOutcome {
  uint64_t size_bytes = 0;
  std::string sha256;
  uint64_t fetched_bytes = 0;  // over the network, this time
};

using ByteProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;  // 0: unknown

// Errors: kUnavailable (the network, or the server for now), kDataLoss (size or hash is wrong; the
// part file is removed), kResourceExhausted (disk full, too large), kNotFound, kFailedPrecondition
// (401, 403), kCancelled (the part file stays).
Result<DownloadOutcome> Download(const DownloadRequest& request, const TransferSettings& settings,
                                 const ByteProgress& on_progress);

// HttpGetText with the same retries.
Result<HttpText> FetchText(const HttpRequest& request, const std::string& culprit, size_t max_bytes,
                           const TransferSettings& settings);

// What a status that is not 2xx means for the user. `headers` of the Hub (X-Error-Code,
// X-Error-Message) make the sentence better.
Status HttpError(const std::string& culprit, const HttpResponse& response, bool had_token);

// kResourceExhausted when the disk of `folder` has less than needed_bytes (and 16 MiB) free.
Status CheckDiskSpace(const std::string& folder, uint64_t needed_bytes, const std::string& culprit);

}  // namespace rill::llm
