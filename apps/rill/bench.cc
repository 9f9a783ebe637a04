// rill bench: prefill and decode rates of a model on this machine.

#include <fmt/format.h>

#include <algorithm>

#include "command.h"
#include "progress.h"

namespace rill::app {
namespace {

struct BenchFlags {
  ModelFlags model;
  std::vector<int32_t> prompt_lengths = {128, 512};
  int32_t decode_tokens = 64;
  int32_t repetitions = 3;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Ids that any vocabulary has, spread over it, without a pattern that a cache could like.
std::vector<int32_t> FixedPrompt(int32_t length, int32_t vocab_size) {
  std::vector<int32_t> ids(static_cast<size_t>(length));
  uint64_t state = 12345;
  for (int32_t& id : ids) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    id = static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab_size));
  }
  return ids;
}

Status Bench(BenchFlags& flags) {
  const int32_t longest =
      *std::max_element(flags.prompt_lengths.begin(), flags.prompt_lengths.end());
  if (flags.model.options.max_context == 0) {
    flags.model.options.max_context = longest + flags.decode_tokens + 1;
  }
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  GenerateOptions greedy;
  greedy.sampling.temperature = 0;
  greedy.sampling.ignore_eos = true;
  Json::Array runs;
  ProgressBar bar("bench", ProgressBar::Unit::kCount);
  int64_t done = 0;
  const auto total =
      static_cast<int64_t>(flags.prompt_lengths.size() + 1) * (flags.repetitions + 1);
  if (!flags.model.json) {
    WriteStdout(fmt::format("{} | {} | activations {} | kv {} | load {:.3f} s\n\n",
                            llm->info().path, llm->info().backend, flags.model.options.activations,
                            flags.model.options.kv_dtype, llm->info().load_s));
    WriteStdout(
        fmt::format("{:<10}{:>8}{:>12}{:>12}{:>12}\n", "phase", "tokens", "tok/s", "min", "max"));
  }
  auto report = [&](const char* phase, int32_t tokens, int32_t context,
                    const std::vector<double>& rates) {
    const auto [low, high] = std::minmax_element(rates.begin(), rates.end());
    Json run;
    run.Set("phase", phase);
    run.Set("num_seqs", 1);
    run.Set("num_tokens", tokens);
    run.Set("context", context);
    run.Set("tokens_per_s", Median(rates));
    run.Set("min_tokens_per_s", *low);
    run.Set("max_tokens_per_s", *high);
    runs.push_back(std::move(run));
    if (!flags.model.json) {
      WriteStdout(fmt::format("{:<10}{:>8}{:>12.1f}{:>12.1f}{:>12.1f}\n", phase, tokens,
                              Median(rates), *low, *high));
    }
  };
  InterruptScope interrupt;
  for (int32_t length : flags.prompt_lengths) {
    const auto prompt = FixedPrompt(length, llm->info().vocab_size);
    std::vector<double> rates;
    greedy.sampling.max_tokens = 1;
    for (int32_t i = 0; i <= flags.repetitions; ++i) {  // the first one warms up
      RILL_ASSIGN_OR_RETURN(const auto result,
                            llm->Generate(prompt, greedy, nullptr, interrupt.flag()));
      if (interrupt.interrupted()) return Cancelled("interrupted");
      if (i > 0) rates.push_back(result.stats.prompt_tokens_per_s);
      bar.Update(++done, total);
    }
    report("prefill", length, 0, rates);
  }
  std::vector<double> rates;
  const auto prompt = FixedPrompt(1, llm->info().vocab_size);
  greedy.sampling.max_tokens = flags.decode_tokens + 1;
  for (int32_t i = 0; i <= flags.repetitions; ++i) {
    RILL_ASSIGN_OR_RETURN(const auto result,
                          llm->Generate(prompt, greedy, nullptr, interrupt.flag()));
    if (interrupt.interrupted()) return Cancelled("interrupted");
    if (i > 0) rates.push_back(result.stats.decode_tokens_per_s);
    bar.Update(++done, total);
  }
  report("decode", flags.decode_tokens, 0, rates);
  if (flags.model.json) {
    Json out;
    out.Set("model", llm->info().path);
    out.Set("machine", DescribeBuild());
    out.Set("backend", llm->info().backend);
    out.Set("activations", flags.model.options.activations);
    out.Set("kv_dtype", flags.model.options.kv_dtype);
    out.Set("load_s", llm->info().load_s);
    out.Set("runs", std::move(runs));
    PrintJson(out);
  }
  return OkStatus();
}

}  // namespace

void AddBench(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "Prefill and decode rates on this machine");
  flags->model.AddTo(*command);
  command->add_option("-p,--prompt-lengths", flags->prompt_lengths, "Prefill lengths")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-n,--decode-tokens", flags->decode_tokens, "Tokens to decode one by one")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("-r,--repetitions", flags->repetitions, "Timed runs (after one to warm up)")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([flags, &context] {
    const Status status = Bench(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
