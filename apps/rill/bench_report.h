// What `rill bench` measured, as tables for people and as JSON for machines.
#pragma once

#include <string>
#include <vector>

#include "rill/bench.h"
#include "rill/json.h"
#include "rill/llm.h"

namespace rill::app {

struct SkippedCase {
  BenchCase shape;
  std::string reason;
  bool is_profile = false;
};

struct BenchReport {
  ModelInfo info;
  LoadOptions options;
  Ceilings ceilings;
  std::vector<BenchRun> runs;
  std::vector<SkippedCase> skipped;
  std::vector<Profile> profiles;
  double first_token_s = 0;  // from the start of loading
  int64_t resident_bytes = 0;
};

// docs/performance.md describes the keys.
Json ReportJson(const BenchReport& report);
// "<machine>-<isa>-<commit>-<model>-[<weights>-]<activations>-kv-<kv dtype>-<n>-threads.json", of
// letters, digits, '-', '_' and '.' only.
std::string ResultFileName(const Json& report);

std::string HeaderText(const BenchReport& report);
std::string RunText(const BenchRun& run);
std::string FooterText(const BenchReport& report);

Json KernelJson(const KernelBenchRun& run);
std::string KernelText(const KernelBenchRun& run);

}  // namespace rill::app
