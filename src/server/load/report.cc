// Numbers of a load test: what the public header rill/load_test.h promises of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "rill/load_test.h"

namespace rill {

namespace {

// numpy.percentile's default: linear between the two nearest ranks. `sorted` is not empty.
double Percentile(const std::vector<double>& sorted, double percent) {
  const double rank = percent / 100.0 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(rank));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - std::floor(rank)) * (sorted[above] - sorted[below]);
}

Json TimesJson(const LoadTimes& times) {
  Json out;
  out.Set("mean", times.mean);
  out.Set("p50", times.p50);
  out.Set("p99", times.p99);
  return out;
}

// Reasons by how often, at most 20; the rest as one. A server can make up any number of them.
std::vector<std::pair<std::string, int64_t>> CommonErrors(
    const std::map<std::string, int64_t>& errors) {
  constexpr size_t kMost = 20;
  std::vector<std::pair<std::string, int64_t>> out(errors.begin(), errors.end());
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (out.size() <= kMost) return out;
  int64_t rest = 0;
  for (size_t i = kMost; i < out.size(); ++i) rest += out[i].second;
  out.resize(kMost);
  out.emplace_back("other reasons", rest);
  return out;
}

std::string TimesText(const char* name, const LoadTimes& times) {
  return fmt::format("{:<22}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10}\n", name,
                     times.mean, times.p50, times.p90, times.p99, times.max, times.samples);
}

}  // namespace

LoadTimes SummarizeTimes(std::vector<double> seconds) {
  LoadTimes out;
  out.samples = seconds.size();
  if (seconds.empty()) {
    out.mean = out.p50 = out.p90 = out.p99 = out.max = std::numeric_limits<double>::quiet_NaN();
    return out;
  }
  std::sort(seconds.begin(), seconds.end());
  double sum = 0;
  for (double value : seconds) sum += value;
  out.mean = 1e3 * sum / static_cast<double>(seconds.size());
  out.p50 = 1e3 * Percentile(seconds, 50);
  out.p90 = 1e3 * Percentile(seconds, 90);
  out.p99 = 1e3 * Percentile(seconds, 99);
  out.max = 1e3 * seconds.back();
  return out;
}

LoadReport MakeLoadReport(std::vector<LoadSample> samples) {
  LoadReport report;
  std::vector<double> ttft, itl, e2e;
  double begin = std::numeric_limits<double>::infinity(), end = 0, last_first = 0;
  for (const LoadSample& sample : samples) {
    ++report.requests;
    report.sent_again += sample.sent_again;
    begin = std::min(begin, sample.arrival_s);
    end = std::max(end, sample.end_s);
    if (!sample.error.empty()) {
      ++report.failed;
      ++report.errors[sample.error];
      continue;
    }
    e2e.push_back(sample.end_s - sample.arrival_s);
    report.output_tokens += sample.output_tokens;
    report.prompt_tokens += sample.prompt_tokens;
    if (sample.events_s.empty()) continue;
    ttft.push_back(sample.events_s.front() - sample.arrival_s);
    last_first = std::max(last_first, sample.events_s.front());
    // From the previous token, each time: not from the first one.
    for (size_t i = 1; i < sample.events_s.size(); ++i) {
      itl.push_back(sample.events_s[i] - sample.events_s[i - 1]);
    }
  }
  report.samples = std::move(samples);
  if (report.requests == 0) return report;
  report.duration_s = end - begin;
  const double seconds = std::max(report.duration_s, 1e-9);
  report.requests_per_s = static_cast<double>(report.requests - report.failed) / seconds;
  report.output_tokens_per_s = static_cast<double>(report.output_tokens) / seconds;
  report.batch_first_token_ms = 1e3 * std::max(0.0, last_first - begin);
  report.ttft_ms = SummarizeTimes(std::move(ttft));
  report.itl_ms = SummarizeTimes(std::move(itl));
  report.e2e_ms = SummarizeTimes(std::move(e2e));
  return report;
}

Json LoadReport::ToJson() const {
  Json out;
  out.Set("requests", requests);
  out.Set("failed", failed);
  out.Set("requests_per_s", requests_per_s);
  out.Set("output_tokens_per_s", output_tokens_per_s);
  out.Set("ttft_ms", TimesJson(ttft_ms));
  out.Set("itl_ms", TimesJson(itl_ms));
  out.Set("e2e_ms", TimesJson(e2e_ms));
  if (!errors.empty()) {
    Json reasons;
    for (const auto& [reason, count] : CommonErrors(errors)) reasons.Set(reason, count);
    out.Set("errors", std::move(reasons));
  }
  if (sent_again > 0) out.Set("sent_again", sent_again);
  return out;
}

std::string LoadReport::ErrorsText() const {
  std::string out;
  for (const auto& [reason, count] : CommonErrors(errors)) {
    out += fmt::format("failed {} time{}: {}\n", count, count == 1 ? "" : "s", reason);
  }
  if (sent_again > 0) {
    out += fmt::format("sent again {} time{}: a kept connection ended before an answer began\n",
                       sent_again, sent_again == 1 ? "" : "s");
  }
  return out;
}

std::string LoadReport::ToText() const {
  std::string out = fmt::format(
      "{} requests, {} failed, {:.2f} s | {} prompt and {} output tokens\n\n"
      "QPS                   {:>10.2f} requests/s\n"
      "throughput            {:>10.1f} output tokens/s\n"
      "first token of all    {:>10.1f} ms after the start\n\n"
      "{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
      requests, failed, duration_s, prompt_tokens, output_tokens, requests_per_s,
      output_tokens_per_s, batch_first_token_ms, "ms", "mean", "p50", "p90", "p99", "max",
      "samples");
  out += TimesText("first token", ttft_ms);
  out += TimesText("between two tokens", itl_ms);
  out += TimesText("whole request", e2e_ms);
  return out + ErrorsText();
}

std::string LoadReport::DetailsJsonLines() const {
  std::string out;
  for (const LoadSample& sample : samples) {
    Json line;
    line.Set("arrival_s", sample.arrival_s);
    line.Set("end_s", sample.end_s);
    line.Set("prompt_tokens", sample.prompt_tokens);
    line.Set("output_tokens", sample.output_tokens);
    Json::Array events(sample.events_s.begin(), sample.events_s.end());
    line.Set("events_s", std::move(events));
    if (!sample.error.empty()) line.Set("error", sample.error);
    out += line.Dump() + "\n";
  }
  return out;
}

}  // namespace rill
