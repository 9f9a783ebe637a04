// What every subcommand shares: flags that name and load a model, errors, exit codes, output.
#pragma once

#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rill/llm.h"

namespace rill::app {

// Exit codes, stable for scripts (listed in `rill --help` and docs/cli.md).
enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,      // anything not below
  kExitUsage = 2,        // wrong flags, or input that can never work
  kExitNotFound = 3,     // model or file does not exist
  kExitUnsupported = 4,  // well-formed, but not something Rill can do
  kExitResources = 5,    // memory, disk, context or another limit
  kExitNetwork = 6,      // download failed; may succeed later
  kExitInterrupted = 130,
};
int ExitCodeOf(const Status& status);

// Filled by main; each subcommand's callback leaves its exit code here.
struct CommandContext {
  int exit_code = kExitOk;
};

// Prints "rill: <message>" on stderr and gives the exit code. With json: one JSON object
// {"error": {"code", "message"}} on stdout as well, so that machines need not read stderr.
int ReportError(const Status& status, bool json);

// Flags of every command that loads a model.
struct ModelFlags {
  std::string model;
  LoadOptions options;
  bool json = false;

  // model_required: MODEL is a required positional.
  void AddTo(CLI::App& command, bool model_positional = true, bool model_required = true);
  void AddJson(CLI::App& command);
  // Resolves the name and opens it. Prints a progress line on a terminal when it takes long.
  Result<std::unique_ptr<Llm>> Open() const;
};

// Flags of every command that samples.
struct SamplingFlags {
  GenerateOptions options;
  std::vector<std::string> logit_bias;  // "id=bias"
  uint64_t seed = 0;
  CLI::Option* seed_option = nullptr;

  void AddTo(CLI::App& command);
  // Flags to options; a random seed when none was given. Errors name the flag. Needs no model:
  // that a token id is of its vocabulary is checked when `vocab_size` is given.
  Result<GenerateOptions> Finish(int32_t vocab_size = INT32_MAX) const;
};

bool StdinIsTerminal();
bool StdoutIsTerminal();
bool StderrIsTerminal();

// What a terminal would act upon (control characters but newline and tab) as
// \xNN: for texts out of a model file.
std::string ForTerminal(std::string_view text);

// Whole file, or stdin for "-". At most max_bytes.
Result<std::string> ReadText(const std::string& path, size_t max_bytes);
// Whole or not at all (output_file.h).
Status WriteFileAtomically(const std::string& path, std::string_view bytes);

// Is `text` UTF-8? The error names `culprit`, the first byte that is not, and where it is.
Status CheckUtf8(std::string_view text, const std::string& culprit);

// Checks of an option: not empty; for a file that is written beside what stdout gets, not "-".
CLI::Validator FileName(const std::string& expected = "a file name");
CLI::Validator OutputFileName();

// Writes to stdout; a closed pipe ends the process quietly, as `yes | head` does.
void WriteStdout(std::string_view text);
// The same for a text that a model or a file made: a terminal gets it ForTerminal. Whole UTF-8
// characters.
void WriteText(std::string_view text);
void PrintJson(const Json& json);
// A JSON array of token ids; `source` begins the message of an error.
Result<std::vector<int32_t>> TokenIds(const Json& json, const std::string& source);

// Ctrl-C while one of these lives sets flag() instead of ending the process; a second one, when
// the first was not acted upon within the same generation, ends it. Inside a scope that says
// kStopsAnswer (the chat) no number of them does.
//
// A scope forgets what came before it, unless it says kKeep: then it has what came after the
// beginning of the scope before it, which is how a Ctrl-C between a question's last line and the
// beginning of its answer means the answer.
class InterruptScope {
 public:
  enum class Second { kEndsProcess, kStopsAnswer };
  enum class Earlier { kForget, kKeep };
  explicit InterruptScope(Second second = Second::kEndsProcess, Earlier earlier = Earlier::kForget);
  explicit InterruptScope(Earlier earlier) : InterruptScope(Second::kEndsProcess, earlier) {}
  ~InterruptScope();
  const std::atomic<bool>* flag() const;
  bool interrupted() const;
  // read(), which a Ctrl-C ends (-1, EINTR) whenever it comes: also just before.
  static int Read(int fd, void* out, size_t bytes);

 private:
  struct sigaction previous_ = {};
  bool outer_never_ends_ = false;
};

// One entry per line of subcommand_list.def.
#define SUBCOMMAND(Name) void Add##Name(CLI::App& app, CommandContext& context);
#include "subcommand_list.def"
#undef SUBCOMMAND

}  // namespace rill::app
