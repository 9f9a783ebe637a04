// rill bench: speed of a model on this machine, beside what the machine can do at most.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench_report.h"
#include "command.h"
#include "numbers.h"
#include "output_file.h"
#include "progress.h"
#include "rill/bench.h"

namespace rill::app {
namespace {

struct BenchFlags {
  ModelFlags model;
  std::vector<int32_t> prompt_lengths = {32, 128, 512, 2048, 4096};
  std::vector<int32_t> batches = {1, 8, 32, 64};
  std::vector<int32_t> contexts = {0, 1024, 4096, 8191};
  std::vector<std::string> mixed = {"8x512+128", "32x512+256"};
  int32_t repetitions = 3;
  bool all_repetitions = false;  // -r was given: of long cases too
  double min_seconds = 0.3;
  int32_t kv_memory_mb = 2048;
  bool profile = false;
  std::string synthetic;
  std::string write_gguf;
  std::string out;
};

// "8x512+128": 8 decodes at context 512 and a prefill chunk of 128.
Result<BenchCase> ParseMixed(const std::string& text) {
  const std::string_view word = text;
  const size_t times = word.find('x');
  const size_t plus = word.find('+');
  int32_t decodes = 0, context = 0, chunk = 0;
  if (times != word.npos && plus != word.npos && times < plus) {
    decodes = ParseNumber<int32_t>(word.substr(0, times)).value_or(0);
    context = ParseNumber<int32_t>(word.substr(times + 1, plus - times - 1)).value_or(-1);
    chunk = ParseNumber<int32_t>(word.substr(plus + 1)).value_or(0);
  }
  if (decodes < 1 || context < 0 || chunk < 1 || decodes > 4096 || context > (1 << 20) ||
      chunk > (1 << 20)) {
    return InvalidArgument("--mixed: expected DECODESxCONTEXT+CHUNK like 8x512+128, got '" + text +
                           "'");
  }
  constexpr int64_t kMaxTokens = 1 << 20;  // of a step
  if (int64_t{decodes} + chunk > kMaxTokens) {
    return InvalidArgument(fmt::format("--mixed {}: expected at most {} tokens a step, got {}",
                                       text, kMaxTokens, int64_t{decodes} + chunk));
  }
  return BenchCase{"mixed", decodes + 1, decodes + chunk, context};
}

// "none" beside something is one of two mistakes.
template <typename T, typename IsNone>
Status CheckNoneIsAlone(const char* flag, const std::vector<T>& values, IsNone is_none) {
  if (values.size() < 2 || std::none_of(values.begin(), values.end(), is_none)) return OkStatus();
  return InvalidArgument(fmt::format("{}: expected 'none' alone, or {} values without it, got both",
                                     flag, values.size()));
}

Result<std::vector<BenchCase>> CasesOf(const BenchFlags& flags) {
  const auto is_zero = [](int32_t value) { return value == 0; };
  RILL_RETURN_IF_ERROR(CheckNoneIsAlone("--prefill", flags.prompt_lengths, is_zero));
  RILL_RETURN_IF_ERROR(CheckNoneIsAlone("--batch", flags.batches, is_zero));
  RILL_RETURN_IF_ERROR(CheckNoneIsAlone("--mixed", flags.mixed, [](const std::string& text) {
    return text.empty() || text == "none";
  }));
  std::vector<BenchCase> cases;
  for (int32_t length : flags.prompt_lengths) {
    if (length > 0) cases.push_back({"prefill", 1, length, 0});
  }
  for (int32_t batch : flags.batches) {
    if (batch == 0) continue;
    for (int32_t context : flags.contexts) cases.push_back({"decode", batch, batch, context});
  }
  for (const std::string& text : flags.mixed) {
    if (text.empty() || text == "none") continue;
    RILL_ASSIGN_OR_RETURN(const BenchCase mixed, ParseMixed(text));
    cases.push_back(mixed);
  }
  return cases;
}

// What --profile looks at: the shapes of the statements that docs/performance.md repeats, with the
// largest batch of the measured cases.
std::vector<BenchCase> ProfileCases(const std::vector<BenchCase>& measured) {
  int32_t batch = 0;
  for (const BenchCase& c : measured) {
    if (c.phase != "prefill") batch = std::max(batch, c.num_seqs);
  }
  if (batch == 0) batch = 8;
  std::vector<BenchCase> cases = {{"prefill", 1, 512, 0}};
  for (int32_t context : {128, 1024, 4096, 8191}) cases.push_back({"decode", 1, 1, context});
  if (batch == 1) return cases;
  for (int32_t context : {128, 1024}) cases.push_back({"decode", batch, batch, context});
  return cases;
}

// Where --out leads. Opened before the measurement, so that no result is lost for want of a place;
// nothing appears there before it is written.
class ResultPlace {
 public:
  Status Open(const std::string& out) {
    path_ = out;
    if (out.empty()) return OkStatus();
    struct stat info = {};
    is_folder_ = stat(out.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    if (!is_folder_) {
      if (out.ends_with('/')) return NotFound(out + ": no such folder");
      return file_.Open(out);
    }
    if (!out.ends_with('/')) path_ += '/';
    OutputFile probe;  // the report decides its name
    return probe.Open(path_ + "result.json");
  }
  Status Write(const Json& report) {
    if (path_.empty()) return OkStatus();
    if (is_folder_) {
      path_ += ResultFileName(report);
      const std::string stem = path_.substr(0, path_.size() - std::string_view(".json").size());
      struct stat info = {};
      // The same run again is another result.
      for (int i = 2; lstat(path_.c_str(), &info) == 0; ++i) {
        path_ = fmt::format("{}-{}.json", stem, i);
      }
      RILL_RETURN_IF_ERROR(file_.Open(path_));
    }
    RILL_RETURN_IF_ERROR(file_.Write(report.Dump(2) + "\n"));
    RILL_RETURN_IF_ERROR(file_.Finish());
    std::fprintf(stderr, "wrote %s\n", path_.c_str());
    return OkStatus();
  }

 private:
  std::string path_;
  bool is_folder_ = false;
  OutputFile file_;
};

Status WriteGguf(const BenchFlags& flags) {
  if (flags.synthetic.empty()) {
    return InvalidArgument("--write-gguf: needs --synthetic SHAPE:FORMAT");
  }
  if (!flags.out.empty()) {
    return InvalidArgument("--write-gguf and --out: nothing is measured, so --out has no place");
  }
  OutputFile file;  // which no signal leaves behind half written
  RILL_RETURN_IF_ERROR(file.Open(flags.write_gguf));
  RILL_RETURN_IF_ERROR(WriteSyntheticModel(
      flags.synthetic, [&](std::string_view bytes) { return file.Write(bytes); }));
  RILL_RETURN_IF_ERROR(file.Finish());
  struct stat info = {};
  const bool is_there = stat(flags.write_gguf.c_str(), &info) == 0;
  if (flags.model.json) {
    Json out;
    out.Set("out", flags.write_gguf);
    out.Set("model", "synthetic:" + flags.synthetic);
    out.Set("size_bytes", Json(is_there ? static_cast<int64_t>(info.st_size) : int64_t{0}));
    PrintJson(out);
  } else {
    std::fprintf(stderr, "wrote %s\n", flags.write_gguf.c_str());
  }
  return OkStatus();
}

Status Bench(BenchFlags& flags) {
  if (!flags.write_gguf.empty()) return WriteGguf(flags);
  if (!flags.synthetic.empty()) {
    if (!flags.model.model.empty()) {
      return InvalidArgument("MODEL and --synthetic: expected one of them");
    }
    flags.model.model = "synthetic:" + flags.synthetic;
  }
  RILL_ASSIGN_OR_RETURN(std::vector<BenchCase> cases, CasesOf(flags));
  ResultPlace place;
  RILL_RETURN_IF_ERROR(place.Open(flags.out));
  LoadOptions& load = flags.model.options;
  for (const BenchCase& c : cases) {
    load.max_sequences = std::max(load.max_sequences, c.num_seqs);
    if (c.phase != "prefill") load.max_step_tokens = std::max(load.max_step_tokens, c.num_tokens);
  }
  auto profile_cases = flags.profile ? ProfileCases(cases) : std::vector<BenchCase>();
  for (const BenchCase& c : profile_cases) {
    load.max_sequences = std::max(load.max_sequences, c.num_seqs);
    if (c.phase != "prefill") load.max_step_tokens = std::max(load.max_step_tokens, c.num_tokens);
  }
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  const ModelInfo& info = llm->info();
  if (info.max_context < 2) {
    return InvalidArgument(fmt::format(
        "--context: expected at least 2 positions, a token of a prompt and one after it, got {}",
        info.max_context));
  }

  for (BenchCase& c : profile_cases) {
    if (c.phase == "prefill") c.num_tokens = std::min(c.num_tokens, info.max_context);
  }

  // From start to first token: the load and a short prompt, as a first `run` would have it.
  GenerateOptions greedy;
  greedy.sampling.temperature = 0;
  greedy.sampling.ignore_eos = true;
  greedy.sampling.max_tokens = 1;
  InterruptScope interrupt;
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < std::min(16, info.max_context - 1); ++i) {
    prompt.push_back(i * 37 % info.vocab_size);
  }
  RILL_ASSIGN_OR_RETURN(const GenerateResult first,
                        llm->Generate(prompt, greedy, nullptr, interrupt.flag()));
  BenchReport report;
  report.info = info;
  report.options = load;
  report.first_token_s = info.load_s + first.stats.first_token_s;
  report.resident_bytes = first.stats.resident_bytes;

  BenchmarkOptions options;
  options.kv_bytes = int64_t{flags.kv_memory_mb} << 20;
  options.min_repetitions = flags.repetitions;
  options.min_seconds = flags.min_seconds;
  if (flags.all_repetitions) options.long_seconds = std::numeric_limits<double>::infinity();
  options.cancel = interrupt.flag();
  std::vector<BenchCase> all = cases;
  all.insert(all.end(), profile_cases.begin(), profile_cases.end());
  RILL_ASSIGN_OR_RETURN(auto benchmark, Benchmark::Create(*llm, all, options));
  report.ceilings = benchmark->ceilings();

  const bool table = !flags.model.json;
  if (table) WriteStdout(HeaderText(report));
  ProgressBar bar("bench", ProgressBar::Unit::kCount);
  int64_t done = 0;
  for (const BenchCase& c : cases) {
    if (const std::string reason = benchmark->WhyNot(c); !reason.empty()) {
      report.skipped.push_back({c, reason, false});
    } else {
      RILL_ASSIGN_OR_RETURN(const BenchRun run, benchmark->Run(c));
      report.runs.push_back(run);
      if (table) WriteStdout(RunText(run));
    }
    bar.Update(++done, static_cast<int64_t>(all.size()));
  }
  for (const BenchCase& c : profile_cases) {
    if (const std::string reason = benchmark->WhyNot(c); !reason.empty()) {
      report.skipped.push_back({c, reason, true});
    } else {
      RILL_ASSIGN_OR_RETURN(Profile profile, benchmark->ProfileOps(c));
      report.profiles.push_back(std::move(profile));
    }
    bar.Update(++done, static_cast<int64_t>(all.size()));
  }
  const Json json = ReportJson(report);
  if (table) {
    WriteStdout(FooterText(report));
  } else {
    PrintJson(json);
  }
  return place.Write(json);
}

void AddKernels(CLI::App& bench, CommandContext& context) {
  struct Flags {
    KernelBenchOptions options;
    bool json = false;
    bool list = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand("kernels", "One kernel alone, for a profiler");
  KernelBenchOptions& o = flags->options;
  command->add_option("--only", o.name, "NAME or NAME:FORMAT (--list names them)");
  command->add_flag("--list", flags->list, "Names of the kernels");
  command->add_option("--tokens", o.tokens, "Rows of activations, or queries")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--rows", o.rows, "Output features")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--cols", o.cols, "Input features; attention: 64 for each query head")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--at", o.context, "Attention: positions")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--matrices", o.num_matrices,
                   "Distinct weights in turn (0: 256 MiB of them, so that none stays in a cache)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command->add_option("--seconds", o.seconds, "How long")
      ->check(Between(0.001, 3600))
      ->capture_default_str();
  command->add_option("--activations", o.activations, "f32 or q8")
      ->check(CLI::IsMember({"f32", "q8"}))
      ->capture_default_str();
  command->add_option("--kv-dtype", o.kv_dtype, "Of keys and values")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "int8", "int4"}))
      ->capture_default_str();
  command->add_option("--backend", o.backend, "cpu, or reference (without limits)")
      ->check(CLI::IsMember({"cpu", "reference"}))
      ->capture_default_str();
  command->add_option("-t,--threads", o.num_threads, "0: all")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Machine-readable output");
  command->footer("Example:\n  perf record rill bench kernels --only linear:q4_k --tokens 8");
  command->callback([flags, &context] {
    if (flags->list || flags->options.name.empty()) {
      std::string text;
      Json::Array names;
      for (const std::string& name : KernelBenchNames()) {
        text += name + "\n";
        names.emplace_back(name);
      }
      if (flags->json) {
        Json out;
        out.Set("kernels", std::move(names));
        PrintJson(out);
      } else {
        WriteStdout(text);
      }
      return;
    }
    auto run = RunKernelBench(flags->options);
    if (!run.ok()) {
      context.exit_code = ReportError(run.status(), flags->json);
    } else if (flags->json) {
      PrintJson(KernelJson(*run));
    } else {
      WriteStdout(KernelText(*run));
    }
  });
}

}  // namespace

void AddBenchServe(CLI::App& bench, CommandContext& context);  // bench_serve.cc

void AddBench(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Speed on this machine, beside what the machine can do");
  flags->model.AddTo(*command, true, false);
  command
      ->add_option("-p,--prefill,--prompt-lengths", flags->prompt_lengths,
                   "Prompt lengths, in tokens ('none' or 0, alone: no prefill)")
      ->delimiter(',')
      ->type_name(kIntegerOrNone)
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("-b,--batch", flags->batches,
                   "Decode: sequences at once ('none' or 0, alone: no decode)")
      ->delimiter(',')
      ->type_name(kIntegerOrNone)
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command->add_option("--at", flags->contexts, "Decode: positions before the step")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command
      ->add_option(
          "--mixed", flags->mixed,
          "DECODESxCONTEXT+CHUNK: decodes and a prefill chunk in one step ('none' alone: none)")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("-r,--repetitions", flags->repetitions,
                   "Of a case, at least, after one to warm up; where not given, a case whose first "
                   "takes over 2 s has no other")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--min-time", flags->min_seconds, "Seconds of a case, at least")
      ->check(Between(0, 3600))
      ->capture_default_str();
  command
      ->add_option("--kv-memory", flags->kv_memory_mb,
                   "MiB for keys and values; larger cases are left out")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_flag("--profile", flags->profile,
                    "Time, bytes and products of every op, in the repetition of median time: a "
                    "prefill of 512 tokens, decodes of 1 and of the largest batch asked for");
  std::string shapes;
  for (const std::string& name : SyntheticShapes()) shapes += (shapes.empty() ? "" : " ") + name;
  command
      ->add_option("--synthetic", flags->synthetic,
                   "SHAPE:FORMAT: a model of random weights, made in memory (" + shapes + ")")
      ->check(FileName("SHAPE:FORMAT"));
  command
      ->add_option("--write-gguf", flags->write_gguf,
                   "Only write the synthetic model to this file, for other programs")
      ->check(OutputFileName());
  command
      ->add_option("--out", flags->out,
                   "Also write the JSON here (a folder: into a new file named by machine, commit, "
                   "model and options)")
      ->check(OutputFileName());
  command->footer(
      "Examples:\n  rill bench smollm2\n  rill bench smollm2 -p 512 -b 1,8,16 --at 0,4096 --json\n"
      "  rill bench --synthetic llama-1.1b:q4_0\n"
      "  rill bench smollm2 --profile --out bench/results/\n  rill bench kernels --only "
      "linear:q4_0");
  AddKernels(*command, context);
  AddBenchServe(*command, context);
  command->require_subcommand(0, 1);
  command->callback([flags, command, &context] {
    if (!command->get_subcommands().empty()) return;
    flags->all_repetitions = command->count("--repetitions") > 0;
    const Status status = Bench(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
