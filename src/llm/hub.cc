#include "llm/hub.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/model_store.h"

namespace rill::llm {
namespace {

constexpr size_t kMaxAnswerBytes = 32u << 20;
constexpr size_t kMaxFiles = 100'000;
constexpr uint64_t kMaxFileBytes = uint64_t{4} << 40;

// Side files that config, tokenizer or template readers look at.
constexpr std::array kSideFiles = {"config.json",
                                   "quantize_config.json",
                                   "quant_config.json",
                                   "generation_config.json",
                                   "tokenizer.json",
                                   "tokenizer.model",
                                   "tokenizer_config.json",
                                   "special_tokens_map.json",
                                   "added_tokens.json",
                                   "vocab.json",
                                   "vocab.txt",
                                   "merges.txt",
                                   "chat_template.jinja",
                                   "chat_template.json",
                                   "spiece.model",
                                   "tokenization_config.json"};

bool IsHexadecimal(std::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return std::isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

bool IsTopLevel(const std::string& name) {
  return name.find('/') == std::string::npos;
}

bool IsSideFile(const std::string& name) {
  return std::find(kSideFiles.begin(), kSideFiles.end(), name) != kSideFiles.end() ||
         (IsTopLevel(name) && name.ends_with(".tiktoken"));
}

bool IsPickle(const std::string& name) {
  return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
}

// One entry of "siblings". An empty name: to be left out.
Result<HubFile> ParseFile(const Json& entry) {
  HubFile file;
  RILL_ASSIGN_OR_RETURN(file.name, entry.GetString("rfilename", ""));
  if (!CheckRelativeFileName(file.name).ok()) {
    file.name.clear();
    return file;
  }
  RILL_ASSIGN_OR_RETURN(int64_t size_bytes, entry.GetInt("size", 0));
  RILL_ASSIGN_OR_RETURN(const std::string blob_id, entry.GetString("blobId", ""));
  const Json* lfs = entry.Find("lfs");
  if (lfs != nullptr && lfs->is_object()) {
    RILL_ASSIGN_OR_RETURN(file.sha256, lfs->GetString("sha256", ""));
    RILL_ASSIGN_OR_RETURN(size_bytes, lfs->GetInt("size", size_bytes));
    if (!file.sha256.empty() && !IsHexadecimal(file.sha256, 64)) {
      return DataLoss("'" + file.name + "': expected a SHA-256 of 64 digits, got '" +
                      PrintableUtf8(file.sha256, 80) + "'");
    }
  } else if (IsHexadecimal(blob_id, 40)) {
    file.git_blob_id = blob_id;
  }
  if (size_bytes < 0 || static_cast<uint64_t>(size_bytes) > kMaxFileBytes) {
    return DataLoss("'" + file.name + "': a size of " + std::to_string(size_bytes) + " bytes");
  }
  file.size_bytes = static_cast<uint64_t>(size_bytes);
  return file;
}

std::vector<std::string> NamesEndingIn(const HubRepository& repository, std::string_view ending) {
  std::vector<std::string> names;
  for (const HubFile& file : repository.files) {
    if (file.name.ends_with(ending)) names.push_back(file.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string JoinNames(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < 40; ++i) out += (i ? ", " : "") + names[i];
  if (names.size() > 40) out += ", and " + std::to_string(names.size() - 40) + " more";
  return out;
}

// All parts of the model that `first` is the first part of.
std::vector<HubFile> WithParts(const HubRepository& repository, const std::string& first) {
  std::vector<HubFile> files;
  for (const HubFile& file : repository.files) {
    if (SplitModelStem(file.name) == SplitModelStem(first) &&
        (file.name == first || SplitModelStem(first) != first)) {
      files.push_back(file);
    }
  }
  std::sort(files.begin(), files.end(),
            [](const HubFile& a, const HubFile& b) { return a.name < b.name; });
  return files;
}

HubSelection SelectSafetensors(const HubRepository& repository) {
  const auto is_weight = [](const std::string& name) {
    return IsTopLevel(name) &&
           (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"));
  };
  // Some repositories hold the same weights twice: model*.safetensors and consolidated*.
  const bool has_model = std::any_of(
      repository.files.begin(), repository.files.end(),
      [&](const HubFile& file) { return is_weight(file.name) && file.name.starts_with("model"); });
  HubSelection selection;
  for (const HubFile& file : repository.files) {
    if (IsSideFile(file.name) ||
        (is_weight(file.name) && (!has_model || file.name.starts_with("model")))) {
      selection.files.push_back(file);
    }
  }
  std::sort(selection.files.begin(), selection.files.end(), [](const auto& a, const auto& b) {
    const bool a_is_weight = a.name.ends_with(".safetensors");
    const bool b_is_weight = b.name.ends_with(".safetensors");
    return a_is_weight != b_is_weight ? b_is_weight : a.name < b.name;
  });
  return selection;
}

}  // namespace

Result<HubRepository> ParseHubRepository(const std::string& repo, std::string_view text) {
  const std::string culprit = "hf:" + repo + ": the Hub's answer";
  auto parsed = Json::Parse(text, culprit);
  if (!parsed.ok()) return DataLoss(parsed.status().message());
  const Json& json = *parsed;
  HubRepository repository;
  repository.name = repo;
  auto commit = json.GetString("sha", "");
  if (!commit.ok() || !IsHexadecimal(*commit, 40)) {
    return DataLoss(culprit + ": expected \"sha\", a commit of 40 digits");
  }
  repository.commit = *commit;
  const Json* siblings = json.Find("siblings");
  if (siblings == nullptr || !siblings->is_array() || siblings->array().size() > kMaxFiles) {
    return DataLoss(culprit + ": expected \"siblings\", an array of at most " +
                    std::to_string(kMaxFiles) + " files");
  }
  for (const Json& entry : siblings->array()) {
    auto file = ParseFile(entry);
    if (!file.ok()) return DataLoss(culprit + ": " + file.status().message());
    if (file->name.empty()) {
      ++repository.num_refused_names;
    } else {
      repository.files.push_back(std::move(file).value());
    }
  }
  return repository;
}

Result<HubRepository> FetchHubRepository(const HubAccess& access, const std::string& repo,
                                         const TransferSettings& settings) {
  const HttpRequest request{
      access.endpoint + "/api/models/" + PercentEncodePath(repo) + "/revision/main?blobs=true",
      access.token, 0, "", settings.timeouts};
  RILL_ASSIGN_OR_RETURN(const HttpText text,
                        FetchText(request, "hf:" + repo, kMaxAnswerBytes, settings));
  return ParseHubRepository(repo, text.body);
}

std::string HubFileUrl(const HubAccess& access, const HubRepository& repository,
                       const HubFile& file) {
  return access.endpoint + "/" + PercentEncodePath(repository.name) + "/resolve/" +
         repository.commit + "/" + PercentEncodePath(file.name);
}

Result<HubSelection> SelectHubFiles(const HubRepository& repository, const std::string& wanted) {
  const std::string culprit = "hf:" + repository.name;
  const std::vector<std::string> gguf = NamesEndingIn(repository, ".gguf");
  HubSelection selection;
  if (!wanted.empty()) {
    auto match = MatchFile(gguf, wanted);
    if (!match.ok()) return match.status().WithPrefix(culprit);
    selection.files = WithParts(repository, *match);
    return selection;
  }
  std::vector<std::string> safetensors;
  for (const std::string& name : NamesEndingIn(repository, ".safetensors")) {
    if (IsTopLevel(name)) safetensors.push_back(name);
  }
  const bool has_config =
      std::any_of(repository.files.begin(), repository.files.end(),
                  [](const HubFile& file) { return file.name == "config.json"; });
  if (!safetensors.empty() && has_config) return SelectSafetensors(repository);
  if (!gguf.empty()) {
    const int index = PreferredGguf(gguf);
    if (index < 0) {
      return InvalidArgument(culprit +
                             ": several GGUF files and none of them is Q4_K_M, Q8_0 or "
                             "Q4_0; name one as '" +
                             culprit + ":FILE': " + JoinNames(gguf));
    }
    const std::string& chosen = gguf[static_cast<size_t>(index)];
    selection.files = WithParts(repository, chosen);
    if (selection.files.size() < gguf.size()) {
      selection.note = culprit + ": taking " + chosen + " of " + JoinNames(gguf);
    }
    return selection;
  }
  const bool has_pickle = std::any_of(repository.files.begin(), repository.files.end(),
                                      [](const HubFile& file) { return IsPickle(file.name); });
  if (!safetensors.empty()) {
    return Unsupported(culprit + ": holds safetensors but no config.json");
  }
  return Unsupported(culprit + ": holds no .gguf or .safetensors weights" +
                     (has_pickle ? "; its pickle files can run code and are never read" : "") +
                     (repository.num_refused_names > 0
                          ? " (" + std::to_string(repository.num_refused_names) +
                                " files with unsafe names were left out)"
                          : ""));
}

}  // namespace rill::llm
