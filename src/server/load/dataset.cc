// Requests of recorded traces: see rill/load_test.h.
#include <charconv>
#include <cstdio>
#include <fstream>

#include "rill/load_test.h"

namespace rill {

namespace {

constexpr size_t kMaxFileBytes = 1u << 30;

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(path + ": cannot be opened");
  std::string text;
  char buffer[1 << 16];
  while (file.read(buffer, sizeof(buffer)) || file.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes) return InvalidArgument(path + ": larger than 1 GiB");
  }
  return text;
}

// "2023-11-16 18:17:03.9799600" in seconds since 1970.
bool ParseTimestamp(const std::string& text, double* seconds) {
  int year, month, day, hour, minute;
  double second;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d %2d:%2d:%lf", &year, &month, &day, &hour, &minute,
                  &second) != 6 ||
      year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31) {
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

}  // namespace

Result<std::vector<LoadRequest>> ReadShareGptRequests(
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
    if (max_total_tokens > 0 && prompt_tokens + request.max_tokens > max_total_tokens) continue;
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return InvalidArgument(path + ": no usable conversation");
  return requests;
}

Result<std::vector<LoadRequest>> ReadAzureRequests(
    const std::string& path, size_t max_requests, int32_t max_total_tokens,
    const std::function<std::string(int32_t, size_t)>& make_prompt) {
  std::ifstream file(path);
  if (!file) return NotFound(path + ": cannot be opened");
  std::string line;
  if (!std::getline(file, line) || line.rfind("TIMESTAMP,ContextTokens,GeneratedTokens", 0) != 0) {
    return InvalidArgument(path +
                           ": expected a first line TIMESTAMP,ContextTokens,GeneratedTokens");
  }
  std::vector<LoadRequest> requests;
  double first = 0;
  for (size_t number = 2; std::getline(file, line) && requests.size() < max_requests; ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::string where = path + ":" + std::to_string(number);
    const size_t comma = line.find(','), second = line.find(',', comma + 1);
    double at = 0;
    int32_t prompt_tokens = 0, output_tokens = 0;
    const char* end = line.data() + line.size();
    if (comma == std::string::npos || second == std::string::npos ||
        !ParseTimestamp(line.substr(0, comma), &at) ||
        std::from_chars(line.data() + comma + 1, line.data() + second, prompt_tokens).ptr !=
            line.data() + second ||
        std::from_chars(line.data() + second + 1, end, output_tokens).ptr != end ||
        prompt_tokens < 0 || output_tokens < 0) {
      return InvalidArgument(where + ": expected time,tokens,tokens, got '" + line.substr(0, 80) +
                             "'");
    }
    if (prompt_tokens < 1 || output_tokens < 1) continue;
    if (max_total_tokens > 0 && prompt_tokens > max_total_tokens - output_tokens) continue;
    if (requests.empty()) first = at;
    LoadRequest request;
    request.arrival_s = std::max(0.0, at - first);
    request.prompt = make_prompt(prompt_tokens, requests.size());
    request.max_tokens = output_tokens;
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return InvalidArgument(path + ": no usable request");
  return requests;
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
  for (int32_t i = 0; i < tokens; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text += kWords[(state >> 33) % kCount];
  }
  return text;
}

}  // namespace rill
