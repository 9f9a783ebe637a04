#include "bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "arithmetic_text.h"

namespace rill::app {
namespace {

// "AMD EPYC 7763 64-Core Processor (2 CPUs)"
std::string MachineName(const Json& build) {
  const int64_t cpus = build.Find("cpus")->int_value();
  return fmt::format("{} ({} {})", build.Find("cpu")->string_value(), cpus,
                     cpus == 1 ? "CPU" : "CPUs");
}

Json CeilingsJson(const Ceilings& c) {
  Json out;
  out.Set("dram_read_gbs", c.dram_read_gbs);
  out.Set("int8_dot_gmacs", c.int8_dot_gmacs);
  out.Set("f32_fma_gflops", c.f32_fma_gflops);
  out.Set("barrier_ns", c.barrier_ns);
  out.Set("isa", c.isa);
  out.Set("threads", c.threads);
  Json::Array reads;
  for (const Ceilings::ReadRate& rate : c.reads) {
    Json read;
    read.Set("working_set_mb", rate.size_bytes / 1e6);
    read.Set("read_gbs", rate.gbs);
    reads.push_back(std::move(read));
  }
  out.Set("reads", std::move(reads));
  return out;
}

void SetShape(Json& out, const BenchCase& shape) {
  out.Set("phase", shape.phase);
  out.Set("num_seqs", shape.num_seqs);
  out.Set("num_tokens", shape.num_tokens);
  out.Set("context", shape.context);
}

void SetCost(Json& out, const StepCost& cost) {
  out.Set("weight_bytes", cost.weight_bytes);
  out.Set("kv_bytes", cost.kv_bytes);
  out.Set("activation_bytes", cost.activation_bytes);
  out.Set("int8_macs", cost.int8_macs);
  out.Set("f32_macs", cost.f32_macs);
}

Json RunJson(const BenchRun& run) {
  Json out;
  SetShape(out, run.shape);
  out.Set("tokens_per_s", run.tokens_per_s);
  out.Set("limit", run.limit);
  out.Set("pct_of_limit", run.pct_of_limit);
  out.Set("seconds", run.seconds);
  out.Set("min_seconds", run.min_seconds);
  out.Set("max_seconds", run.max_seconds);
  out.Set("repetitions", run.repetitions);
  SetCost(out, run.cost);
  return out;
}

Json RowsJson(const std::vector<ProfileRow>& rows) {
  Json::Array out;
  for (const ProfileRow& row : rows) {
    Json entry;
    entry.Set("name", row.name);
    entry.Set("op", row.op);
    entry.Set("calls", row.calls);
    entry.Set("seconds", row.seconds);
    entry.Set("share", row.share);
    SetCost(entry, row.cost);
    entry.Set("limit", row.limit);
    entry.Set("pct_of_limit", row.pct_of_limit);
    out.push_back(std::move(entry));
  }
  return out;
}

Json ProfileJson(const Profile& profile) {
  Json out;
  SetShape(out, profile.shape);
  const auto set = [&out](const std::string& name, double value, const Profile::Span& span) {
    out.Set(name, value);
    out.Set("min_" + name, span.min);
    out.Set("max_" + name, span.max);
  };
  out.Set("repetitions", profile.repetitions);
  set("seconds", profile.seconds, profile.seconds_span);
  set("matmul_share", profile.matmul_share, profile.matmul_share_span);
  set("attention_share", profile.attention_share, profile.attention_share_span);
  out.Set("by_op", RowsJson(profile.by_op));
  out.Set("by_place", RowsJson(profile.by_place));
  return out;
}

std::string ShapeText(const BenchCase& shape) {
  if (shape.phase == "prefill") return fmt::format("prefill of {} tokens", shape.num_tokens);
  if (shape.phase == "decode") {
    return fmt::format("decode of {} {} at context {}", shape.num_seqs,
                       shape.num_seqs == 1 ? "sequence" : "sequences", shape.context);
  }
  return fmt::format("{} {} at context {} with a prefill of {}", shape.num_seqs - 1,
                     shape.num_seqs == 2 ? "decode" : "decodes", shape.context,
                     shape.num_tokens - shape.num_seqs + 1);
}

// Of times that are least and most of `repetitions`, beside their median; "-" of a single one.
std::string SpreadText(double min, double max, double median, int32_t repetitions) {
  return repetitions < 2 ? "-" : fmt::format("{:.0f}%", 100 * (max - min) / median);
}

std::string ShareText(const char* name, double share, const Profile::Span& span,
                      int32_t repetitions) {
  const std::string text = fmt::format("{} {:.1f} %", name, share * 100);
  if (repetitions < 2) return text;
  return text + fmt::format(" ({:.0f} to {:.0f})", span.min * 100, span.max * 100);
}

std::string LimitText(const std::string& limit, double pct) {
  if (limit.empty() || limit == "none") return limit;
  return fmt::format("{:.0f} % of {}", pct, limit);
}

std::string RowsText(const std::vector<ProfileRow>& rows, size_t most) {
  std::string out = fmt::format("  {:<28}{:>7}{:>10}{:>8}{:>10}{:>12}  {}\n", "", "calls", "ms",
                                "share", "MB", "Mmac", "limit");
  for (size_t i = 0; i < rows.size() && i < most; ++i) {
    const ProfileRow& row = rows[i];
    out += fmt::format("  {:<28}{:>7}{:>10.3f}{:>7.1f}%{:>10.2f}{:>12.1f}  {}\n", row.name,
                       row.calls, row.seconds * 1e3, row.share * 100,
                       (row.cost.memory_bytes() + row.cost.activation_bytes) / 1e6,
                       (row.cost.int8_macs + row.cost.f32_macs) / 1e6,
                       LimitText(row.limit, row.pct_of_limit));
  }
  return out;
}

// What a batch costs beside one sequence, at the same context.
std::string BatchText(const std::vector<BenchRun>& runs) {
  std::string out;
  for (const BenchRun& one : runs) {
    if (one.shape.phase != "decode" || one.shape.num_seqs != 1) continue;
    const BenchRun* largest = nullptr;
    for (const BenchRun& run : runs) {
      if (run.shape.phase == "decode" && run.shape.context == one.shape.context &&
          run.shape.num_seqs > (largest ? largest->shape.num_seqs : 1)) {
        largest = &run;
      }
    }
    if (largest == nullptr) continue;
    const double products = (largest->cost.int8_macs + largest->cost.f32_macs) /
                            (one.cost.int8_macs + one.cost.f32_macs);
    out += fmt::format(
        "decode at context {}, batch 1 to {}: {:.0f} times the products in {:.1f} "
        "times the time\n",
        one.shape.context, largest->shape.num_seqs, products, largest->seconds / one.seconds);
  }
  return out;
}

}  // namespace

Json ReportJson(const BenchReport& report) {
  const Json build = DescribeBuild();
  Json out;
  out.Set("machine", MachineName(build));
  out.Set("commit", *build.Find("commit"));
  out.Set("ceilings", CeilingsJson(report.ceilings));
  Json::Array runs;
  for (const BenchRun& run : report.runs) runs.push_back(RunJson(run));
  out.Set("runs", std::move(runs));
  out.Set("load_s", report.info.load_s);
  out.Set("first_token_s", report.first_token_s);
  out.Set("resident_mb", static_cast<double>(report.resident_bytes) / 1e6);
  // Results are passed on: which folder of this machine the model lies in is nobody's business.
  const std::filesystem::path path = report.info.path;
  out.Set("model", (path.has_filename() ? path : path.parent_path()).filename().string());
  out.Set("backend", report.info.backend);
  out.Set("weights", report.options.weights);
  out.Set("activations", report.options.activations);
  out.Set("kv_dtype", report.options.kv_dtype);
  out.Set("max_step_tokens", report.options.max_step_tokens);
  out.Set("build", build);
  Json::Array skipped;
  for (const SkippedCase& skip : report.skipped) {
    Json entry;
    SetShape(entry, skip.shape);
    entry.Set("reason", skip.reason);
    entry.Set("profile", skip.is_profile);
    skipped.push_back(std::move(entry));
  }
  out.Set("skipped", std::move(skipped));
  if (!report.profiles.empty()) {
    Json::Array profiles;
    for (const Profile& profile : report.profiles) profiles.push_back(ProfileJson(profile));
    out.Set("profiles", std::move(profiles));
  }
  return out;
}

std::string ResultFileName(const Json& report) {
  const auto text_of = [](const Json& json, const char* key) {
    return json.Find(key)->string_value();
  };
  const Json& ceilings = *report.Find("ceilings");
  // File names end at 255 bytes; of all parts, only the model's is not ours.
  std::string text =
      fmt::format("{} {} {} {}", text_of(report, "machine"), text_of(ceilings, "isa"),
                  text_of(report, "commit"), text_of(report, "model").substr(0, 80));
  if (text_of(report, "weights") != "file") text += " " + text_of(report, "weights");
  text += fmt::format(" {} kv {} {} threads", text_of(report, "activations"),
                      text_of(report, "kv_dtype"), ceilings.Find("threads")->int_value());
  std::string name;
  for (char c : text) {
    const bool keep = std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
    if (keep) {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  return name + ".json";
}

std::string HeaderText(const BenchReport& report) {
  const Ceilings& c = report.ceilings;
  const Json build = DescribeBuild();
  std::string reads;
  for (const Ceilings::ReadRate& rate : c.reads) {
    reads += fmt::format("{}{:.0f} ({:.0f} MB)", reads.empty() ? "" : ", ", rate.gbs,
                         rate.size_bytes / 1e6);
  }
  const std::string ceilings =
      c.dram_read_gbs > 0
          ? fmt::format(
                "DRAM read {:.1f} GB/s | int8 dot {:.0f} GMAC/s | f32 fma {:.0f} GFLOP/s | barrier "
                "{:.0f} ns\n          read GB/s by working set: {}",
                c.dram_read_gbs, c.int8_dot_gmacs, c.f32_fma_gflops, c.barrier_ns, reads)
          : "none are measured on this backend";
  return fmt::format(
      "{}\n{} | {} | {} | commit {}\n"
      "load {:.3f} s | first token {:.3f} s after the start | {:.0f} MB resident\n"
      "ceilings: {}\n\n"
      "{:<9}{:>6}{:>8}{:>9}{:>11}{:>11}{:>11}  {}\n",
      report.info.path, MachineName(build), report.info.backend,
      ArithmeticText(report.options, " | "), build.Find("commit")->string_value(),
      report.info.load_s, report.first_token_s, static_cast<double>(report.resident_bytes) / 1e6,
      ceilings, "phase", "seqs", "tokens", "context", "tok/s", "ms", "spread", "limit");
}

std::string RunText(const BenchRun& run) {
  return fmt::format("{:<9}{:>6}{:>8}{:>9}{:>11.1f}{:>11.3f}{:>11}  {}\n", run.shape.phase,
                     run.shape.num_seqs, run.shape.num_tokens, run.shape.context, run.tokens_per_s,
                     run.seconds * 1e3,
                     SpreadText(run.min_seconds, run.max_seconds, run.seconds, run.repetitions),
                     LimitText(run.limit, run.pct_of_limit));
}

std::string FooterText(const BenchReport& report) {
  std::string out;
  for (const SkippedCase& skip : report.skipped) {
    out += fmt::format("left out: {}{}: {}\n", skip.is_profile ? "profile of a " : "",
                       ShapeText(skip.shape), skip.reason);
  }
  const std::string batches = BatchText(report.runs);
  if (!batches.empty()) out += "\n" + batches;
  for (const Profile& profile : report.profiles) {
    const int32_t repetitions = profile.repetitions;
    std::string of_how_many;
    if (repetitions > 1) {
      of_how_many = fmt::format(" (median of {}, spread {})", repetitions,
                                SpreadText(profile.seconds_span.min, profile.seconds_span.max,
                                           profile.seconds, repetitions));
    }
    out += fmt::format(
        "\n{}: {:.2f} ms{}; {}, {}, the rest {:.1f} %\n", ShapeText(profile.shape),
        profile.seconds * 1e3, of_how_many,
        ShareText("matrix products", profile.matmul_share, profile.matmul_share_span, repetitions),
        ShareText("attention", profile.attention_share, profile.attention_share_span, repetitions),
        (1 - profile.matmul_share - profile.attention_share) * 100);
    out += RowsText(profile.by_op, 12) + RowsText(profile.by_place, 16);
  }
  return out;
}

Json KernelJson(const KernelBenchRun& run) {
  Json out;
  out.Set("kernel", run.kernel);
  out.Set("calls", run.calls);
  out.Set("seconds_per_call", run.seconds_per_call);
  SetCost(out, run.cost);
  out.Set("limit_bytes", run.limit_bytes);
  out.Set("limit", run.limit);
  out.Set("pct_of_limit", run.pct_of_limit);
  out.Set("ceilings", CeilingsJson(run.ceilings));
  return out;
}

std::string KernelText(const KernelBenchRun& run) {
  return fmt::format("{}\n{} calls, median {:.2f} us: {:.1f} GB/s, {:.1f} GMAC/s; {}\n", run.kernel,
                     run.calls, run.seconds_per_call * 1e6,
                     run.limit_bytes / run.seconds_per_call / 1e9,
                     (run.cost.int8_macs + run.cost.f32_macs) / run.seconds_per_call / 1e9,
                     LimitText(run.limit, run.pct_of_limit));
}

}  // namespace rill::app
