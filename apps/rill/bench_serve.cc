// rill bench serve: load on any server with OpenAI's API, measured by the client.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <new>

#include "command.h"
#include "numbers.h"
#include "output_file.h"
#include "progress.h"
#include "rill/load_test.h"

namespace rill::app {
namespace {

struct BenchServeFlags {
  LoadTestOptions load;
  std::string dataset = "fixed:128,64";
  std::string tokenizer;
  std::string key_variable = "RILL_API_KEY";
  int32_t num_requests = 0;
  int32_t max_total_tokens = 0;
  bool together = false, keep_eos = false, json = false;
  double poisson_rate = 0, replay_speed = 0;
  std::string plot, details;
};

// "fixed:IN,OUT"
Result<std::vector<LoadRequest>> FixedRequests(const std::string& lengths, size_t count) {
  const size_t comma = std::min(lengths.find(','), lengths.size());
  const std::string_view after = std::string_view(lengths).substr(comma);
  const int32_t in = ParseNumber<int32_t>(std::string_view(lengths).substr(0, comma)).value_or(0);
  const int32_t out = after.empty() ? 0 : ParseNumber<int32_t>(after.substr(1)).value_or(0);
  if (in < 1 || out < 1 || in > kMaxMadeUpTokens || out > (1 << 20)) {
    return InvalidArgument(
        "--dataset: expected fixed:IN,OUT with token counts, got 'fixed:" + lengths + "'");
  }
  return std::vector<LoadRequest>(count, LoadRequest{0, "", out, in});
}

Result<std::vector<LoadRequest>> MakeRequests(const BenchServeFlags& flags) {
  const size_t colon = std::min(flags.dataset.find(':'), flags.dataset.size());
  const std::string kind = flags.dataset.substr(0, colon);
  const std::string rest = flags.dataset.substr(std::min(colon + 1, flags.dataset.size()));
  const size_t count = flags.num_requests > 0 ? static_cast<size_t>(flags.num_requests) : 1024;
  if (kind == "fixed") return FixedRequests(rest, count);
  if ((kind != "azure" && kind != "sharegpt") || rest.empty()) {
    return InvalidArgument("--dataset: expected sharegpt:FILE, azure:FILE or fixed:IN,OUT, got '" +
                           flags.dataset + "'");
  }
  if (kind == "azure") return ReadAzureRequests(rest, count, flags.max_total_tokens);
  std::unique_ptr<Llm> llm;
  if (!flags.tokenizer.empty()) {
    ModelFlags model;
    model.model = flags.tokenizer;
    model.options.text_only = true;
    RILL_ASSIGN_OR_RETURN(llm, model.Open());
  }
  return ReadShareGptRequests(rest, count, flags.max_total_tokens, [&](const std::string& text) {
    if (!llm) return static_cast<int32_t>(std::min<size_t>((text.size() + 3) / 4, 1 << 20));
    auto ids = llm->Tokenize(text, /*add_special=*/false, /*parse_special=*/false);
    return ids.ok() ? static_cast<int32_t>(ids->size()) : 0;
  });
}

// `exit_code`: of a run that was measured and reported.
Status BenchServe(BenchServeFlags& flags, int& exit_code) {
  LoadTestOptions& load = flags.load;
  if (flags.together + (flags.poisson_rate > 0) + (flags.replay_speed > 0) > 1) {
    return InvalidArgument("--together, --poisson and --replay exclude each other");
  }
  if (flags.replay_speed > 0 && !flags.dataset.starts_with("azure:")) {
    return InvalidArgument("--replay: expected --dataset azure:FILE, whose rows have times, got '" +
                           flags.dataset + "'");
  }
  const bool concurrency_given = load.concurrency > 0;
  if (flags.together) {
    load.arrival = Arrival::kTogether;
  } else if (flags.poisson_rate > 0) {
    load.arrival = Arrival::kPoisson;
    load.rate = flags.poisson_rate;
  } else if (flags.replay_speed > 0) {
    load.arrival = Arrival::kTrace;
    load.speed = flags.replay_speed;
  } else if (!concurrency_given) {
    load.concurrency = 32;
  }
  load.ignore_eos = !flags.keep_eos;
  if (const char* key = std::getenv(flags.key_variable.c_str())) load.api_key = key;
  RILL_ASSIGN_OR_RETURN(load.requests, MakeRequests(flags));
  // A figure "of 1,024 requests" must not be one of those that were left.
  if (flags.num_requests > 0 && std::ssize(load.requests) < flags.num_requests) {
    const std::string note = fmt::format(
        "rill: {} of {} requests: {} has no more{}\n", load.requests.size(), flags.num_requests,
        flags.dataset,
        flags.max_total_tokens > 0 ? fmt::format(" of at most {} tokens", flags.max_total_tokens)
                                   : "");
    std::fputs(ForTerminal(note).c_str(), stderr);
  }
  // Before the measurement: none is lost for want of a place.
  OutputFile plot, details;
  if (!flags.plot.empty()) RILL_RETURN_IF_ERROR(plot.Open(flags.plot));
  if (!flags.details.empty()) RILL_RETURN_IF_ERROR(details.Open(flags.details));
  ProgressBar bar("bench serve", ProgressBar::Unit::kCount);
  InterruptScope interrupt;
  RILL_ASSIGN_OR_RETURN(
      const LoadReport report,
      RunLoadTest(
          load, [&](int64_t done, int64_t total) { bar.Update(done, total); }, interrupt.flag()));
  if (flags.json) {
    PrintJson(report.ToJson());
    std::fputs(ForTerminal(report.ErrorsText()).c_str(), stderr);
  } else {
    WriteText(report.ToText());
  }
  // The report is there, whatever becomes of these: their errors are on stderr.
  auto write = [&](const std::string& path, OutputFile& file, const std::string& text) {
    if (path.empty()) return;
    Status status = file.Write(text);
    if (status.ok()) status = file.Finish();
    if (!status.ok()) exit_code = ReportError(status, /*json=*/false);
  };
  write(flags.plot, plot, report.ToSvg(flags.dataset));
  write(flags.details, details, report.DetailsJsonLines());
  // The report is the one object on stdout.
  if (report.cancelled) {
    exit_code = ReportError(Cancelled("interrupted"), /*json=*/false);
  } else if (report.failed == report.requests) {
    exit_code = ReportError(
        Unavailable(load.url + ": every request failed: " + report.errors.begin()->first),
        /*json=*/false);
  }
  return OkStatus();
}

}  // namespace

void AddBenchServe(CLI::App& bench, CommandContext& context) {
  auto flags = std::make_shared<BenchServeFlags>();
  flags->load.concurrency = 0;
  CLI::App* command = bench.add_subcommand(
      "serve", "Load on a server with OpenAI's API: requests/s, first token, inter-token times");
  command->footer("Example:\n  rill bench serve --url http://127.0.0.1:8080 --concurrency 32");
  LoadTestOptions& load = flags->load;
  command->add_option("--url", load.url, "Server, with or without /v1")->capture_default_str();
  command->add_option("--model", load.model, "Model name; default: the first that it lists");
  command->add_option("--api-key-env", flags->key_variable, "Variable that holds the API key")
      ->capture_default_str();
  command
      ->add_option("--dataset", flags->dataset,
                   "sharegpt:FILE, azure:FILE or fixed:IN,OUT (token counts)")
      ->capture_default_str();
  command
      ->add_option("--tokenizer", flags->tokenizer,
                   "MODEL whose tokenizer counts ShareGPT's lengths; default: bytes / 4")
      ->check(FileName("a name, a file or a folder"));
  command
      ->add_option("-n,--requests", flags->num_requests, "Requests; default: 1024, or the file's")
      ->check(CLI::Range(1, 10'000'000));
  command
      ->add_option("--max-total-tokens", flags->max_total_tokens,
                   "Leave out requests longer than this, prompt and answer together (0: none)")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  CLI::Option* prefix =
      command
          ->add_option("--prefix-tokens", load.prefix_tokens,
                       "Made-up tokens before every prompt, as a system prompt is (not counted in "
                       "--max-total-tokens)")
          ->check(CLI::Range(0, 1 << 20))
          ->capture_default_str();
  command
      ->add_option("--prefixes", load.num_prefixes,
                   "Different ones, in turn: 1 is shared by all requests")
      ->check(CLI::Range(1, 10'000'000))
      ->needs(prefix)
      ->capture_default_str();
  command
      ->add_option("-c,--concurrency", load.concurrency,
                   "Clients (default 32); with another arrival the most at once")
      ->check(CLI::Range(1, 65'536));
  command->add_flag("--together", flags->together, "All requests at once");
  command->add_option("--poisson", flags->poisson_rate, "Independent arrivals, RATE per second")
      ->check(AboveUpTo(0, 1e6));
  command
      ->add_option("--replay", flags->replay_speed,
                   "The trace's arrival times, SPEED times as fast")
      ->check(AboveUpTo(0, 1e6));
  command->add_option("--seed", load.seed, "Of the Poisson arrivals")->capture_default_str();
  command->add_flag("--chat", load.chat, "/v1/chat/completions instead of /v1/completions");
  command->add_flag("--no-ignore-eos", flags->keep_eos,
                    "Let the model end its answers; for servers that refuse ignore_eos");
  command->add_option("--temperature", load.temperature, "Sampling")
      ->check(Between(0, 100))
      ->capture_default_str();
  command->add_option("--extra-body", load.extra_body, "JSON object merged into every request");
  command
      ->add_option("--timeout", load.request_timeout_s,
                   "Seconds for one request, its connection included")
      ->check(Between(0.001, 86'400))
      ->capture_default_str();
  command->add_flag("--insecure", load.insecure_tls, "Accept any TLS certificate");
  command->add_option("--plot", flags->plot, "Write a picture (SVG)")->check(OutputFileName());
  command->add_option("--details", flags->details, "Write every request's times (JSON lines)")
      ->check(OutputFileName());
  command->add_flag("--json", flags->json, "One JSON object on stdout");
  command->callback([flags, &context] {
    Status status;
    try {
      status = BenchServe(*flags, context.exit_code);
    } catch (const std::bad_alloc&) {
      status = ResourceExhausted("bench serve: not enough memory for the requests (-n, --dataset)");
    }
    if (!status.ok()) context.exit_code = ReportError(status, flags->json);
  });
}

}  // namespace rill::app
