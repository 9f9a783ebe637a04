// Requests of recorded traces: see rill/load_test.h.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <new>
#include <string_view>

#include "base/utf8.h"
#include "rill/load_test.h"

namespace rill {

namespace {

constexpr size_t kMaxFileBytes = 1u << 30;
constexpr int64_t kMaxTraceBytes = int64_t{4} << 30;
constexpr size_t kMaxLineBytes = 4096;

// A folder can be opened, too; reading it says nothing.
Status CheckOpen(const std::string& path, bool is_open) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) {
    return InvalidArgument(path + ": expected a file, got a folder");
  }
  return is_open ? OkStatus() : NotFound(path + ": cannot be opened");
}

Result<std::string> ReadFile(const std::string& path) {
  const Status too_large = InvalidArgument(path + ": larger than 1 GiB");
  std::ifstream file(path, std::ios::binary);
  RILL_RETURN_IF_ERROR(CheckOpen(path, file.is_open()));
  std::error_code none;  // a pipe has no size
  const auto size = std::filesystem::file_size(path, none);
  if (!none && size > kMaxFileBytes) return too_large;
  std::string text;
  char buffer[1 << 16];
  while (file.read(buffer, sizeof(buffer)) || file.gcount() > 0) {
    const std::string_view piece(buffer, static_cast<size_t>(file.gcount()));
    // Devices and the wrong files are told by it at once.
    if (const size_t zero = piece.find('\0'); zero != piece.npos) {
      return InvalidArgument(path + ": expected JSON, got a zero byte at offset " +
                             std::to_string(text.size() + zero));
    }
    if (text.size() + piece.size() > kMaxFileBytes) return too_large;
    text += piece;
  }
  return text;
}

// A file's lines, LF or CR LF, none longer than kMaxLineBytes.
class LineReader {
 public:
  explicit LineReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {}

  // "path:line"
  std::string where() const { return path_ + ":" + std::to_string(number_); }
  const std::string& line() const { return line_; }

  // False: there is none left.
  Result<bool> Next() {
    if (number_ == 0) RILL_RETURN_IF_ERROR(CheckOpen(path_, file_.is_open()));
    ++number_;
    file_.getline(buffer_, sizeof(buffer_));
    auto size = static_cast<size_t>(file_.gcount());
    if (file_.fail()) {
      if (size == 0) return false;
      return InvalidArgument(where() + ": a line of more than " + std::to_string(kMaxLineBytes) +
                             " bytes: '" + PrintableUtf8({buffer_, size}, 80) + "'");
    }
    read_bytes_ += static_cast<int64_t>(size);
    if (read_bytes_ > kMaxTraceBytes) return InvalidArgument(where() + ": more than 4 GiB");
    if (!file_.eof()) --size;  // the LF
    if (size > 0 && buffer_[size - 1] == '\r') --size;
    line_.assign(buffer_, size);
    return true;
  }

 private:
  const std::string path_;
  std::ifstream file_;
  char buffer_[kMaxLineBytes + 1];
  std::string line_;
  size_t number_ = 0;
  int64_t read_bytes_ = 0;
};

// What may follow the seconds: nothing, "Z", "+00:00". Rows of one trace have the same.
bool IsTimeZone(std::string_view text) {
  if (text.empty() || text == "Z") return true;
  return (text[0] == '+' || text[0] == '-') &&
         text.find_first_not_of("0123456789:", 1) == std::string_view::npos;
}

// "2023-11-16 18:17:03.9799600" in seconds since 1970.
bool ParseTimestamp(const std::string& text, double* seconds) {
  int year, month, day, hour, minute, begin = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d %2d:%2d:%n", &year, &month, &day, &hour, &minute,
                  &begin) != 5 ||
      begin == 0 || year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 ||
      hour < 0 || hour > 23 || minute < 0 || minute > 59) {
    return false;
  }
  double second = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] =
      std::from_chars(text.data() + begin, end, second, std::chars_format::fixed);
  // Not so for NaN and Inf, which from_chars reads; 60 is a leap second.
  if (error != std::errc() || !(second >= 0 && second < 61) ||
      !IsTimeZone({stop, static_cast<size_t>(end - stop)})) {
    return false;
  }
  // Days of the civil calendar (Howard Hinnant's days_from_civil), without the time zone of mktime.
  const int y = year - (month <= 2);
  const int era = y / 400, yoe = y - era * 400;
  const int doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  const int64_t days = static_cast<int64_t>(era) * 146097 + doe - 719468;
  *seconds = static_cast<double>(days) * 86400.0 + hour * 3600.0 + minute * 60.0 + second;
  return true;
}

// "time,tokens,tokens"; the time in arrival_s.
bool ParseRow(std::string_view line, LoadRequest* row) {
  const size_t comma = line.find(','), second = line.find(',', comma + 1);
  if (comma == line.npos || second == line.npos) return false;
  auto parse = [&line](size_t from, size_t to, int32_t* tokens) {
    const char* end = line.data() + to;
    const auto [stop, error] = std::from_chars(line.data() + from, end, *tokens);
    return error == std::errc() && stop == end && *tokens >= 0;
  };
  return ParseTimestamp(std::string(line.substr(0, comma)), &row->arrival_s) &&
         parse(comma + 1, second, &row->prompt_tokens) &&
         parse(second + 1, line.size(), &row->max_tokens);
}

// Runs `read`; what it cannot have in memory is an error.
template <typename Read>
Result<std::vector<LoadRequest>> WithinMemory(const std::string& path, const Read& read) {
  try {
    return read();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(path + ": not enough memory for its requests");
  }
}

Result<std::vector<LoadRequest>> ReadShareGpt(
    const std::string& path, size_t max_requests, int32_t max_total_tokens,
    const std::function<int32_t(const std::string&)>& count_tokens) {
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  JsonLimits limits;
  limits.max_bytes = kMaxFileBytes;
  limits.max_nodes = 64u << 20;
  RILL_ASSIGN_OR_RETURN(const Json file, Json::Parse(text, path, limits));
  if (!file.is_array()) return InvalidArgument(path + ": expected an array of conversations");
  std::vector<LoadRequest> requests;
  for (const Json& entry : file.array()) {
    if (requests.size() == max_requests) break;
    const Json* turns = entry.Find("conversations");
    if (!turns || !turns->is_array() || turns->array().size() < 2) continue;
    const Json* question = turns->array()[0].Find("value");
    const Json* answer = turns->array()[1].Find("value");
    if (!question || !answer || !question->is_string() || !answer->is_string()) continue;
    LoadRequest request;
    request.prompt = question->string_value();
    const int32_t prompt_tokens = count_tokens(request.prompt);
    request.max_tokens = count_tokens(answer->string_value());
    if (prompt_tokens < 1 || request.max_tokens < 1) continue;
    if (max_total_tokens > 0 && prompt_tokens > max_total_tokens - request.max_tokens) continue;
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return InvalidArgument(path + ": no usable conversation");
  return requests;
}

Result<std::vector<LoadRequest>> ReadAzure(const std::string& path, size_t max_requests,
                                           int32_t max_total_tokens) {
  constexpr std::string_view kHead = "TIMESTAMP,ContextTokens,GeneratedTokens";
  LineReader file(path);
  RILL_ASSIGN_OR_RETURN(bool more, file.Next());
  if (!more || file.line().rfind(kHead, 0) != 0) {
    return InvalidArgument(path + ": expected a first line " + std::string(kHead));
  }
  std::vector<LoadRequest> requests;
  while (requests.size() < max_requests) {
    RILL_ASSIGN_OR_RETURN(more, file.Next());
    if (!more) break;
    if (file.line().empty()) continue;
    LoadRequest request;
    if (!ParseRow(file.line(), &request)) {
      return InvalidArgument(file.where() + ": expected time,tokens,tokens, got '" +
                             PrintableUtf8(file.line(), 80) + "'");
    }
    if (request.prompt_tokens < 1 || request.max_tokens < 1) continue;
    if (max_total_tokens > 0 && request.prompt_tokens > max_total_tokens - request.max_tokens) {
      continue;
    }
    if (request.prompt_tokens > kMaxMadeUpTokens) {
      return InvalidArgument(file.where() + ": expected at most " +
                             std::to_string(kMaxMadeUpTokens) + " prompt tokens, got " +
                             std::to_string(request.prompt_tokens));
    }
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return InvalidArgument(path + ": no usable request");
  // Rows are sent in the order of their times, whatever theirs is.
  std::stable_sort(
      requests.begin(), requests.end(),
      [](const LoadRequest& a, const LoadRequest& b) { return a.arrival_s < b.arrival_s; });
  const double first = requests.front().arrival_s;
  for (LoadRequest& request : requests) request.arrival_s -= first;
  return requests;
}

}  // namespace

Result<std::vector<LoadRequest>> ReadShareGptRequests(
    const std::string& path, size_t max_requests, int32_t max_total_tokens,
    const std::function<int32_t(const std::string&)>& count_tokens) {
  return WithinMemory(
      path, [&] { return ReadShareGpt(path, max_requests, max_total_tokens, count_tokens); });
}

Result<std::vector<LoadRequest>> ReadAzureRequests(const std::string& path, size_t max_requests,
                                                   int32_t max_total_tokens) {
  return WithinMemory(path, [&] { return ReadAzure(path, max_requests, max_total_tokens); });
}

std::string MakePromptText(int32_t tokens, size_t index) {
  // Words that are one token, with the space before them, in the vocabularies of today's models.
  static constexpr const char* kWords[] = {
      " the",  " of",   " and",  " to",    " in",    " is",    " that", " for",   " it",   " as",
      " was",  " with", " be",   " by",    " on",    " not",   " he",   " this",  " are",  " or",
      " his",  " from", " at",   " which", " but",   " have",  " an",   " had",   " they", " you",
      " were", " one",  " all",  " we",    " can",   " her",   " has",  " there", " been", " if",
      " more", " when", " will", " would", " who",   " so",    " no",   " out",   " up",   " into",
      " them", " time", " some", " could", " these", " about", " two",  " only",  " new",  " any"};
  constexpr uint64_t kCount = sizeof(kWords) / sizeof(kWords[0]);
  uint64_t state = 0x9e3779b97f4a7c15ull * (index + 1);
  std::string text;
  text.reserve(5 * static_cast<size_t>(std::max(tokens, 0)));
  for (int32_t i = 0; i < tokens; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text += kWords[(state >> 33) % kCount];
  }
  return text;
}

}  // namespace rill
