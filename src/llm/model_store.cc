#include "llm/model_store.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "base/utf8.h"
#include "llm/pull_manifest.h"
#include "rill/file_error.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHubPrefix = "hf:";
// More than any repository holds; a bound for folders that are no model.
constexpr size_t kMaxFilesListed = 20000;

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool IsNameChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

// A name of the store, or owner or repo of the Hub.
bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 96 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), IsNameChar);
}

std::string JoinNames(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < 20; ++i) {
    out += (i ? ", " : "") + PrintableUtf8(names[i]);
  }
  if (names.size() > 20) out += ", and " + std::to_string(names.size() - 20) + " more";
  return out;
}

// Does `name` hold `word` between characters that are not letters or digits? "m.Q4_0.gguf" holds
// "Q4_0" and "Q4_0.gguf", but not "Q4" (its next character '_' counts as part of the word).
bool HoldsWord(std::string_view name, std::string_view word) {
  const auto in_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  for (size_t at = name.find(word); at != std::string_view::npos; at = name.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !in_word(name[at - 1])) && (end == name.size() || !in_word(name[end]))) {
      return true;
    }
  }
  return false;
}

// The part of a split model's file name: {stem, part, parts}.
struct SplitPart {
  std::string_view stem;
  std::string_view part;
};
std::optional<SplitPart> ParseSplitPart(std::string_view name) {
  // "<stem>-00002-of-00003.gguf"
  constexpr size_t kTail = sizeof("-00002-of-00003.gguf") - 1;
  if (name.size() <= kTail) return std::nullopt;
  const std::string_view tail = name.substr(name.size() - kTail);
  for (size_t i = 0; i < kTail; ++i) {
    const char want = "-#####-of-#####.gguf"[i];
    const bool fits =
        want == '#' ? std::isdigit(static_cast<unsigned char>(tail[i])) != 0 : tail[i] == want;
    if (!fits) return std::nullopt;
  }
  return SplitPart{name.substr(0, name.size() - kTail), tail.substr(1, 5)};
}

bool IsFirstPart(std::string_view name) {
  const auto split = ParseSplitPart(name);
  return !split || split->part == "00001";
}

// Regular files below a model's folder, relative, sorted; hidden ones and *.part left out.
std::vector<std::string> FilesBelow(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, error);
  for (; !error && it != fs::recursive_directory_iterator() && names.size() < kMaxFilesListed;
       it.increment(error)) {
    const std::string file_name = it->path().filename().string();
    if (file_name.starts_with(".")) {
      it.disable_recursion_pending();
      continue;
    }
    std::error_code ignored;
    if (it.depth() > 3) it.disable_recursion_pending();
    if (it->is_regular_file(ignored) && !file_name.ends_with(".part")) {
      names.push_back(it->path().lexically_relative(folder).generic_string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t SizeOf(const std::string& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

// What a model's folder offers.
struct FolderContents {
  std::vector<std::string> gguf;  // finished *.gguf files
  bool is_hugging_face = false;   // config.json with *.safetensors
  bool unfinished = false;        // a pull has begun and not ended
  uint64_t safetensors_bytes = 0;
  std::string source;
};

FolderContents ReadFolder(const std::string& folder) {
  FolderContents contents;
  PullManifest manifest;
  if (auto read = ReadManifest(folder); read.ok()) manifest = std::move(read).value();
  contents.source = manifest.source;
  contents.unfinished = !manifest.unfinished.empty();
  bool has_config = false;
  bool has_safetensors = false;
  bool safetensors_unfinished = false;
  for (const std::string& name : manifest.unfinished) {
    if (!name.ends_with(".gguf")) safetensors_unfinished = true;
  }
  for (const std::string& name : FilesBelow(folder)) {
    if (name.ends_with(".gguf") && !manifest.IsUnfinished(name)) contents.gguf.push_back(name);
    if (name == "config.json") has_config = true;
    if (name.ends_with(".safetensors")) {
      has_safetensors = true;
      contents.safetensors_bytes += SizeOf(folder + "/" + name);
    }
  }
  contents.is_hugging_face = has_config && has_safetensors && !safetensors_unfinished;
  return contents;
}

// The path that folder[:file] means. `name` and `pull_name` are for messages.
Result<std::string> ResolveInFolder(const std::string& folder, std::string_view file,
                                    const std::string& name) {
  const FolderContents contents = ReadFolder(folder);
  if (!file.empty()) {
    auto match = MatchFile(contents.gguf, file);
    if (!match.ok()) return match.status().WithPrefix(name);
    return folder + "/" + *match;
  }
  if (contents.is_hugging_face) return folder;
  if (!contents.gguf.empty()) {
    const int index = PreferredGguf(contents.gguf);
    if (index >= 0) return folder + "/" + contents.gguf[static_cast<size_t>(index)];
    return InvalidArgument(name + ": several GGUF files; say which one as '" + name +
                           ":FILE': " + JoinNames(contents.gguf));
  }
  if (contents.unfinished) {
    return FailedPrecondition(name + ": only half pulled; `rill pull " + name +
                              "` goes on where it stopped");
  }
  return NotFound(folder + ": holds neither a .gguf file nor config.json with *.safetensors");
}

}  // namespace

Result<ModelStore> ModelStore::FromEnvironment() {
  const auto get = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string(value ? value : "");
  };
  if (std::string path = get("RILL_CACHE"); !path.empty()) return ModelStore(std::move(path));
  // The XDG specification: a relative path is invalid and to be ignored.
  if (std::string path = get("XDG_CACHE_HOME"); path.starts_with("/")) {
    return ModelStore(path + "/rill");
  }
  if (std::string path = get("HOME"); !path.empty()) return ModelStore(path + "/.cache/rill");
  return FailedPrecondition(
      "no folder for models: set RILL_CACHE (XDG_CACHE_HOME and HOME are not set either)");
}

Result<std::string> ModelStore::Resolve(std::string_view model) const {
  if (model.empty()) return InvalidArgument("MODEL: expected a name or a path, got nothing");
  if (model.size() > 4096 || model.find('\0') != std::string_view::npos) {
    return InvalidArgument("MODEL: expected a name or a path, got " + std::to_string(model.size()) +
                           " bytes: '" + PrintableUtf8(model, 60) + "'");
  }
  std::error_code ignored;
  if (model.starts_with(kHubPrefix)) {
    RILL_ASSIGN_OR_RETURN(const HubName hub, ParseHubName(model));
    const std::string folder = models_folder() + "/hf/" + hub.repo;
    if (!fs::is_directory(folder, ignored)) {
      return NotFound("hf:" + hub.repo + ": not pulled yet; `rill pull " + std::string(model) +
                      "` fetches it");
    }
    return ResolveInFolder(folder, hub.file, "hf:" + hub.repo);
  }

  const size_t colon = model.find(':');
  std::string_view name = model.substr(0, colon);
  if (colon == std::string_view::npos) {  // as a shell completes the name of a folder
    while (name.size() > 1 && name.ends_with('/')) name.remove_suffix(1);
  }
  const std::string_view file =
      colon == std::string_view::npos ? std::string_view() : model.substr(colon + 1);
  if (IsPlainName(name) && name != "hf") {
    const std::string folder = models_folder() + "/" + std::string(name);
    if (fs::is_directory(folder, ignored)) {
      return ResolveInFolder(folder, file, std::string(name));
    }
  }
  std::error_code error;
  const std::string path(model);
  if (fs::exists(path, error)) return path;
  const bool is_path = model.find('/') != std::string_view::npos || model.ends_with(".gguf");
  // There may well be one, but it cannot be looked at: no permission, links in a circle.
  if (is_path && error) {
    const Status why =
        FileError(PrintableUtf8(model) + ": cannot be opened: " + error.message(), error.value());
    if (why.code() != StatusCode::kNotFound) return why;
  }

  std::string message = "no model '" + PrintableUtf8(model) + "': ";
  message += is_path ? "no such file or folder"
                     : "neither a model in " + models_folder() + " nor a file or folder";
  std::vector<std::string> known;
  for (const StoredModel& stored : List()) known.push_back(stored.name);
  message += known.empty() ? "; no model is pulled yet" : "; pulled are: " + JoinNames(known);
  if (std::find(known.begin(), known.end(), kDefaultModel) == known.end()) {
    message += "; `rill pull smollm2` fetches the default model";
  } else {
    message += "; `rill pull hf:<owner>/<repo>` fetches one from the Hugging Face Hub";
  }
  return NotFound(std::move(message));
}

bool ModelStore::LooksLikeModel(std::string_view word) const {
  if (word.empty()) return false;
  if (Resolve(word).ok()) return true;
  const bool has_space = word.find_first_of(" \t\n") != std::string_view::npos;
  if (has_space) return false;
  std::error_code error;
  return word.starts_with(kHubPrefix) || word.ends_with(".gguf") ||
         word.ends_with(".safetensors") ||
         (IsPlainName(word) && fs::is_directory(models_folder() + "/" + std::string(word), error));
}

std::vector<StoredModel> ModelStore::List() const {
  std::vector<std::pair<std::string, std::string>> folders;  // {name, folder}
  const auto add_folders = [&folders](const std::string& parent, const std::string& prefix) {
    std::error_code error;
    fs::directory_iterator it(parent, error);
    for (; !error && it != fs::directory_iterator() && folders.size() < kMaxFilesListed;
         it.increment(error)) {
      const std::string name = it->path().filename().string();
      std::error_code ignored;
      if (IsPlainName(name) && it->is_directory(ignored)) {
        folders.emplace_back(prefix + name, it->path().string());
      }
    }
  };
  add_folders(models_folder(), "");
  folders.erase(std::remove_if(folders.begin(), folders.end(),
                               [](const auto& folder) { return folder.first == "hf"; }),
                folders.end());
  std::error_code error;
  fs::directory_iterator owners(models_folder() + "/hf", error);
  for (; !error && owners != fs::directory_iterator(); owners.increment(error)) {
    const std::string owner = owners->path().filename().string();
    if (IsPlainName(owner)) {
      add_folders(owners->path().string(), std::string(kHubPrefix) + owner + "/");
    }
  }

  std::vector<StoredModel> models;
  for (const auto& [name, folder] : folders) {
    const FolderContents contents = ReadFolder(folder);
    if (contents.is_hugging_face) {
      models.push_back({name, folder, contents.safetensors_bytes, contents.source});
    }
    std::map<std::string, StoredModel> by_stem;
    for (const std::string& file : contents.gguf) {
      StoredModel& model = by_stem[SplitModelStem(file)];
      model.size_bytes += SizeOf(folder + "/" + file);
      if (IsFirstPart(file)) {
        model.path = folder + "/" + file;
        model.name = file;
      }
    }
    const bool alone = by_stem.size() == 1 && !contents.is_hugging_face;
    for (auto& [stem, model] : by_stem) {
      if (model.path.empty()) continue;  // a part without its first one
      model.name = alone ? name : name + ":" + model.name;
      model.source = contents.source;
      models.push_back(std::move(model));
    }
  }
  std::sort(models.begin(), models.end(),
            [](const StoredModel& a, const StoredModel& b) { return a.name < b.name; });
  return models;
}

std::string SplitModelStem(std::string_view file_name) {
  const auto split = ParseSplitPart(file_name);
  return split ? std::string(split->stem) + ".gguf" : std::string(file_name);
}

int PreferredGguf(const std::vector<std::string>& names) {
  std::vector<size_t> candidates;
  for (size_t i = 0; i < names.size(); ++i) {
    // A vision tower beside a language model is not the model.
    if (IsFirstPart(names[i]) && Lower(names[i]).find("mmproj") == std::string::npos) {
      candidates.push_back(i);
    }
  }
  if (candidates.size() == 1) return static_cast<int>(candidates[0]);
  for (const std::string_view kind : {"q4_k_m", "q8_0", "q4_0"}) {
    for (const size_t i : candidates) {
      if (HoldsWord(Lower(SplitModelStem(names[i])), kind)) return static_cast<int>(i);
    }
  }
  return -1;
}

Result<std::string> MatchFile(const std::vector<std::string>& names, std::string_view wanted) {
  std::vector<std::string> fits;
  for (const std::string& name : names) {
    if (name == wanted) return name;
    if (IsFirstPart(name) && HoldsWord(Lower(SplitModelStem(name)), Lower(wanted))) {
      fits.push_back(name);
    }
  }
  if (fits.size() == 1) return fits[0];
  if (fits.empty()) {
    return NotFound("no file fits '" + PrintableUtf8(wanted) +
                    "'; there are: " + (names.empty() ? "none" : JoinNames(names)));
  }
  return InvalidArgument("'" + PrintableUtf8(wanted) + "' fits several files: " + JoinNames(fits));
}

Result<HubName> ParseHubName(std::string_view text) {
  const auto fail = [text] {
    return InvalidArgument("'" + PrintableUtf8(text) +
                           "': expected hf:<owner>/<repo> or hf:<owner>/<repo>:<file>");
  };
  if (!text.starts_with(kHubPrefix)) return fail();
  std::string_view rest = text.substr(kHubPrefix.size());
  HubName hub;
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    hub.file = rest.substr(colon + 1);
    if (hub.file.empty()) return fail();
    RILL_RETURN_IF_ERROR(CheckRelativeFileName(hub.file));
    rest = rest.substr(0, colon);
  }
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos || !IsPlainName(rest.substr(0, slash)) ||
      !IsPlainName(rest.substr(slash + 1))) {
    return fail();
  }
  hub.repo = rest;
  return hub;
}

Status CheckRelativeFileName(std::string_view name) {
  const auto fail = [name](std::string_view why) {
    return InvalidArgument("file name '" + PrintableUtf8(name, 120) + "': " + std::string(why));
  };
  if (name.empty() || name.size() > 1024) return fail("expected 1 to 1,024 bytes");
  if (!IsValidUtf8(name)) return fail("not UTF-8");
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') {
      return fail("control characters and backslashes are refused");
    }
  }
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = name.find('/', begin);
    if (end == std::string_view::npos) end = name.size();
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty()) return fail("an absolute path or an empty component is refused");
    if (part[0] == '.') return fail("a component that starts with a dot is refused");
    if (part.size() > 255) return fail("a component is longer than 255 bytes");
    begin = end + 1;
  }
  return OkStatus();
}

}  // namespace rill::llm
