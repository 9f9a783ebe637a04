// rill: the one binary. Subcommands are listed in subcommand_list.def, one file each.

#include <fcntl.h>

#include <csignal>
#include <exception>
#include <sstream>
#include <string_view>
#include <system_error>

#include "command.h"
#include "numbers.h"

namespace {

constexpr const char* kFooter = R"(Examples:
  rill run "Why is the sky blue?"            answer with the default model
  rill run model.gguf --raw "Once upon"      continue a text, without the chat template
  rill chat                                  talk
  rill pull hf:<owner>/<repo>                fetch a model from the Hugging Face Hub
  rill inspect smollm2                       what is in a model, and what it will need

MODEL is a name that was pulled, a GGUF file, or a Hugging Face folder.
Exit codes: 0 done, 1 failure, 2 wrong usage or input, 3 not found, 4 not supported,
            5 out of memory, disk, open files or context, 6 network, 74 a model file changed
            while it was in use, 130 interrupted.
Environment: RILL_CACHE (where models live), RILL_CPU_ISA (see `rill ops`),
             RILL_OFFLINE, HF_TOKEN, HF_ENDPOINT.)";

// What was closed by whoever started us would be given to the first file or socket that is opened,
// and written to as if it were the terminal.
void OpenStandardDescriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);  // the lowest free one: fd
  }
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardDescriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write(), not a death
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that reaches the limit of `ulimit -f`
  rill::ExitOnMappingFault();
  CLI::App app("Rill: one LLM inference engine, from phone to data centre.", "rill");
  rill::app::CommandContext context;
  bool version = false;
  bool json = false;
  app.add_flag("--version", version, "Version, compiler and CPU");
  app.add_flag("--json", json, "With --version: as JSON");
  app.footer(kFooter);
  app.require_subcommand(0, 1);
#define SUBCOMMAND(Name) rill::app::Add##Name(app, context);
#include "subcommand_list.def"
#undef SUBCOMMAND
  rill::app::RequireDecimalNumbers(app);
  // Before the flags are parsed, and when they cannot be.
  bool wants_json = false;
  for (int i = 1; i < argc; ++i) wants_json |= std::string_view(argv[i]) == "--json";
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      const int code =
          rill::app::ReportError(rill::InvalidArgument(std::string(error.what())), wants_json);
      std::fputs("Run with --help for more information.\n", stderr);
      return code;
    }
    std::ostringstream help;
    app.exit(error, help, std::cerr);
    rill::app::WriteStdout(help.str());
    return rill::app::kExitOk;
  } catch (const std::system_error& error) {
    return rill::app::ReportError(
        rill::ResourceExhausted(std::string("a thread was not started: ") + error.what()),
        wants_json);
  } catch (const std::exception& error) {  // bad_alloc and the like: still a sentence, not a crash
    return rill::app::ReportError(rill::ResourceExhausted(error.what()), wants_json);
  }
  if (version) {
    const rill::Json build = rill::DescribeBuild();
    if (json) {
      rill::app::PrintJson(build);
    } else {
      std::string line = "rill " + build.Find("version")->string_value() + " (" +
                         build.Find("compiler")->string_value() + ", " +
                         build.Find("cpu")->string_value() + ")\n";
      rill::app::WriteStdout(line);
    }
    return rill::app::kExitOk;
  }
  if (app.get_subcommands().empty()) {
    rill::app::WriteStdout(app.help());
    return rill::app::kExitUsage;
  }
  return context.exit_code;
}
