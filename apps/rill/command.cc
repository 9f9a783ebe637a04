#include "command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>

#include "numbers.h"
#include "output_file.h"
#include "progress.h"
#include "rill/file_error.h"
#include "rill/model_store.h"
#include "rill/utf8.h"

namespace rill::app {
namespace {

std::atomic<bool> g_interrupted{false};
std::atomic<bool> g_never_ends{false};

// Readable from a Ctrl-C on until the next InterruptScope that forgets it: a signal that comes just
// before a read() blocks would not end that read(), and whichever thread the kernel gives it to.
int InterruptFd() {
  static const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd;
}

void OnInterrupt(int) {
  // A second Ctrl-C that comes before the first one was acted upon means "now".
  if (g_interrupted.exchange(true) && !g_never_ends) _exit(kExitInterrupted);
  const int saved_errno = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(InterruptFd(), &one, sizeof(one));
  errno = saved_errno;
}

}  // namespace

int ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk: return kExitOk;
    case StatusCode::kInvalidArgument: return kExitUsage;
    case StatusCode::kNotFound: return kExitNotFound;
    case StatusCode::kUnsupported: return kExitUnsupported;
    case StatusCode::kResourceExhausted: return kExitResources;
    case StatusCode::kUnavailable: return kExitNetwork;
    case StatusCode::kCancelled: return kExitInterrupted;
    case StatusCode::kFailedPrecondition:
    case StatusCode::kDataLoss:
    case StatusCode::kInternal: return kExitFailure;
  }
  return kExitFailure;
}

int ReportError(const Status& status, bool json) {
  std::fprintf(stderr, "rill: %s\n", ForTerminal(status.message()).c_str());
  if (json) {
    Json error;
    error.Set("code", StatusCodeName(status.code()));
    error.Set("message", status.message());
    Json out;
    out.Set("error", std::move(error));
    PrintJson(out);
  }
  return ExitCodeOf(status);
}

void ModelFlags::AddJson(CLI::App& command) {
  command.add_flag("--json", json, "Machine-readable output: one JSON object on stdout");
}

void ModelFlags::AddTo(CLI::App& command, bool model_positional, bool model_required) {
  if (model_positional) {
    auto* option = command.add_option(
        "MODEL", model, "A pulled model's name, a GGUF file, or a Hugging Face folder");
    if (model_required) option->required();
    option->check(FileName("a name, a file or a folder"));
  }
  AddJson(command);
  command
      .add_option("-t,--threads", options.num_threads, "CPU threads (0: all this process may use)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group("Loading");
  command
      .add_option("--activations", options.activations,
                  "Activations of quantised matrix products: f32 (exact) or q8 (int8, faster)")
      ->check(CLI::IsMember({"f32", "q8"}))
      ->capture_default_str()
      ->group("Loading");
  command
      .add_option("--weights", options.weights,
                  "Matrices of f32, f16 and bf16 files: as they are (file), quantised at load to "
                  "int8 with int8 activations (w8a8), or to 4 bits (w4g128)")
      ->check(CLI::IsMember({"file", "w8a8", "w4g128"}))
      ->capture_default_str()
      ->group("Loading");
  command
      .add_option("--kv-dtype", options.kv_dtype, "Key/value cache: f32, f16, bf16, int8 or int4")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "int8", "int4"}))
      ->capture_default_str()
      ->group("Loading");
  command
      .add_option("-c,--context", options.max_context,
                  "Positions to make room for (0: what the model was trained for, at most 32768)")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str()
      ->group("Loading");
  command.add_option("--chunk", options.max_step_tokens, "Prefill chunk: most tokens in one step")
      ->check(CLI::Range(1, 8192))
      ->capture_default_str()
      ->group("Loading");
  command.add_option("--page-size", options.page_size, "KV positions per page (multiple of 16)")
      ->check(CLI::Range(16, 1024))
      ->capture_default_str()
      ->group("Loading");
  command.add_option("--backend", options.backend, "cpu, or reference (slow and obvious)")
      ->check(CLI::IsMember({"cpu", "reference"}))
      ->capture_default_str()
      ->group("Loading");
  command
      .add_flag("--mmap,!--no-mmap", options.use_mmap,
                "Map the file (default), or read it into memory")
      ->group("Loading");
  command
      .add_flag("--pack-cache,!--no-pack-cache", options.pack_cache,
                "Keep the packed weights in a file beside the model (or in the cache folder), so "
                "that the next start with this flag is faster")
      ->group("Loading");
  command.add_flag("--check-tensors", options.check_tensors, "Refuse NaN and Inf weights")
      ->group("Loading");
}

Result<std::unique_ptr<Llm>> ModelFlags::Open() const {
  RILL_ASSIGN_OR_RETURN(const std::string path, ResolveModel(model));
  LoadOptions with_progress = options;
  ProgressBar bar("loading", ProgressBar::Unit::kBytes);
  with_progress.on_progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  RILL_ASSIGN_OR_RETURN(auto llm, Llm::Open(path, with_progress));
  bar.Clear();
  if (const ModelInfo& info = llm->info(); !info.pack_cache_written.empty()) {
    std::fprintf(stderr, "rill: pack cache written: %s (%.0f MB)\n",
                 ForTerminal(info.pack_cache_written).c_str(),
                 static_cast<double>(info.pack_cache_bytes) / 1e6);
  }
  for (const std::string& warning : llm->info().warnings) {
    std::fprintf(stderr, "rill: warning: %s\n", ForTerminal(warning).c_str());
  }
  return llm;
}

void SamplingFlags::AddTo(CLI::App& command) {
  SamplingParams& s = options.sampling;
  // Long enough for any answer of a chat; a model that never ends does not fill the context.
  s.max_tokens = 1024;
  // Mild: a small model stays on its subject, and two runs still differ. Greedy is one flag away.
  s.temperature = 0.3f;
  s.top_p = 0.9f;
  const char* group = "Sampling";
  command
      .add_option("-n,--max-tokens", s.max_tokens,
                  "Most tokens to generate (0: until the model ends or the context is full)")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str()
      ->group(group);
  command.add_option("--temperature", s.temperature, "0: greedy")
      ->check(Between(0, 100))
      ->capture_default_str()
      ->group(group);
  command.add_option("--top-k", s.top_k, "Keep the k likeliest tokens (0: all)")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str()
      ->group(group);
  command.add_option("--top-p", s.top_p, "Keep the likeliest tokens of this total probability")
      ->check(AboveUpTo(0, 1))
      ->capture_default_str()
      ->group(group);
  command.add_option("--min-p", s.min_p, "Drop tokens below this share of the likeliest one")
      ->check(Between(0, 1))
      ->capture_default_str()
      ->group(group);
  command.add_option("--typical-p", s.typical_p, "Locally typical sampling (1: off)")
      ->check(AboveUpTo(0, 1))
      ->capture_default_str()
      ->group(group);
  command.add_option("--repetition-penalty", s.repetition_penalty, "1: off")
      ->check(Between(0.01, 100))
      ->capture_default_str()
      ->group(group);
  command.add_option("--presence-penalty", s.presence_penalty, "0: off")
      ->check(Between(-2, 2))
      ->capture_default_str()
      ->group(group);
  command.add_option("--frequency-penalty", s.frequency_penalty, "0: off")
      ->check(Between(-2, 2))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--logit-bias", logit_bias, "ID=BIAS, added to that token's logit; repeatable")
      ->group(group);
  seed_option =
      command.add_option("--seed", seed, "Same seed, same answer (default: random)")->group(group);
  command.add_option("--min-tokens", s.min_tokens, "No end before this many tokens")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str()
      ->group(group);
  command.add_flag("--ignore-eos", s.ignore_eos, "Go on past the end-of-text token")->group(group);
  command.add_option("--stop", options.stop, "Stop before this text; repeatable")->group(group);
}

Result<GenerateOptions> SamplingFlags::Finish(int32_t vocab_size) const {
  GenerateOptions out = options;
  if (seed_option && seed_option->count() > 0) {
    out.sampling.seed = seed;
  } else {
    std::random_device device;
    out.sampling.seed = (uint64_t{device()} << 32) | device();
  }
  if (out.sampling.max_tokens > 0 && out.sampling.min_tokens > out.sampling.max_tokens) {
    return InvalidArgument(fmt::format("--min-tokens: expected at most --max-tokens {}, got {}",
                                       out.sampling.max_tokens, out.sampling.min_tokens));
  }
  if (logit_bias.size() > static_cast<size_t>(SamplingParams::kMaxLogitBias)) {
    return InvalidArgument(fmt::format("--logit-bias: expected at most {} of them, got {}",
                                       SamplingParams::kMaxLogitBias, logit_bias.size()));
  }
  for (const std::string& entry : logit_bias) {
    const size_t equals = entry.find('=');
    std::optional<int32_t> id;
    std::optional<float> bias;
    if (equals != std::string::npos) {
      id = ParseNumber<int32_t>(std::string_view(entry).substr(0, equals));
      bias = ParseNumber<float>(std::string_view(entry).substr(equals + 1));
    }
    if (!id || !bias || *id < 0 || *id >= vocab_size || std::abs(*bias) > 100.0f) {
      return InvalidArgument(fmt::format(
          "--logit-bias: expected ID=BIAS, a token id{} and a number in [-100, 100], got '{}'",
          vocab_size == INT32_MAX ? std::string() : fmt::format(" below {}", vocab_size), entry));
    }
    for (const LogitBias& other : out.sampling.logit_bias) {
      if (other.token_id != *id) continue;
      return InvalidArgument(fmt::format("--logit-bias: token {} is given twice", *id));
    }
    out.sampling.logit_bias.push_back({*id, *bias});
  }
  for (const std::string& stop : out.stop) {
    if (stop.empty()) return InvalidArgument("--stop: the text must not be empty");
  }
  return out;
}

std::string ForTerminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls are two bytes in UTF-8: C2 80 to C2 9F.
    const bool c1 = byte == 0xC2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else if (c1) {
      out += fmt::format("\\x{:02x}\\x{:02x}", byte, static_cast<unsigned char>(text[i + 1]));
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool StdinIsTerminal() {
  return isatty(STDIN_FILENO) == 1;
}
bool StdoutIsTerminal() {
  return isatty(STDOUT_FILENO) == 1;
}
bool StderrIsTerminal() {
  return isatty(STDERR_FILENO) == 1;
}

Result<std::string> ReadText(const std::string& path, size_t max_bytes) {
  const bool is_stdin = path == "-";
  const std::string culprit = is_stdin ? "stdin" : path;
  const int fd = is_stdin ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(culprit + ": " + std::strerror(errno), errno);
  std::string out;
  char buffer[1 << 16];
  Status status;
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      status = FileError(culprit + ": " + std::strerror(errno), errno);
      break;
    }
    if (got == 0) break;
    out.append(buffer, static_cast<size_t>(got));
    if (out.size() > max_bytes) {
      status = ResourceExhausted(fmt::format("{}: larger than {} bytes", culprit, max_bytes));
      break;
    }
  }
  if (!is_stdin) close(fd);
  if (!status.ok()) return status;
  return out;
}

Status CheckUtf8(std::string_view text, const std::string& culprit) {
  const std::optional<size_t> at = FindInvalidUtf8(text);
  if (!at) return OkStatus();
  return InvalidArgument(fmt::format("{}: expected UTF-8, got byte 0x{:02x} at offset {}",
                                     culprit == "-" ? "stdin" : culprit,
                                     static_cast<unsigned char>(text[*at]), *at));
}

CLI::Validator FileName(const std::string& expected) {
  return CLI::Validator(
      [expected](std::string& given) {
        return given.empty() ? "expected " + expected + ", got nothing" : std::string();
      },
      "");
}

CLI::Validator OutputFileName() {
  return CLI::Validator(
      [](std::string& given) -> std::string {
        if (given.empty()) return "expected a file name, got nothing";
        return given == "-" ? "expected a file name: stdout has the report (./- is a file)" : "";
      },
      "");
}

Status WriteFileAtomically(const std::string& path, std::string_view bytes) {
  OutputFile file;
  RILL_RETURN_IF_ERROR(file.Open(path));
  RILL_RETURN_IF_ERROR(file.Write(bytes));
  return file.Finish();
}

void WriteStdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(STDOUT_FILENO, text.data(), text.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE) _exit(kExitOk);
      std::fprintf(stderr, "rill: stdout: %s\n", std::strerror(errno));
      _exit(kExitFailure);
    }
    text.remove_prefix(static_cast<size_t>(put));
  }
}

void WriteText(std::string_view text) {
  if (StdoutIsTerminal()) {
    WriteStdout(ForTerminal(text));
  } else {
    WriteStdout(text);
  }
}

void PrintJson(const Json& json) {
  WriteText(json.Dump(StdoutIsTerminal() ? 2 : -1) + "\n");
}

Result<std::vector<int32_t>> TokenIds(const Json& json, const std::string& source) {
  if (!json.is_array()) {
    return InvalidArgument(source + ": expected a JSON array of token ids, got " +
                           std::string(json.TypeName()));
  }
  std::vector<int32_t> ids;
  ids.reserve(json.array().size());
  for (const Json& value : json.array()) {
    if (!value.FitsInt64() || value.int_value() < 0 || value.int_value() > INT32_MAX) {
      return InvalidArgument(fmt::format(
          "{}: element {}: expected a token id, got {}", source, ids.size(),
          value.is_array() || value.is_object() || value.is_string() ? std::string(value.TypeName())
                                                                     : value.Dump()));
    }
    ids.push_back(static_cast<int32_t>(value.int_value()));
  }
  return ids;
}

InterruptScope::InterruptScope(Second second, Earlier earlier) : outer_never_ends_(g_never_ends) {
  InterruptFd();  // is made here, before a handler could need it
  if (earlier == Earlier::kForget) {
    g_interrupted = false;
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(InterruptFd(), &count, sizeof(count));
  }
  if (second == Second::kStopsAnswer) g_never_ends = true;
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &previous_, nullptr);
  g_never_ends = outer_never_ends_;
}

const std::atomic<bool>* InterruptScope::flag() const {
  return &g_interrupted;
}
bool InterruptScope::interrupted() const {
  return g_interrupted;
}

int InterruptScope::Read(int fd, void* out, size_t bytes) {
  pollfd waits[2] = {{fd, POLLIN, 0}, {InterruptFd(), POLLIN, 0}};
  while (!g_interrupted) {
    if (poll(waits, 2, -1) < 0) {
      if (errno != EINTR) return -1;
    } else if (waits[1].revents) {
      g_interrupted = true;
    } else {
      return static_cast<int>(read(fd, out, bytes));
    }
  }
  errno = EINTR;
  return -1;
}

}  // namespace rill::app
