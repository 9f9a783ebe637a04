// Which file a model's tokenizer comes from.

#include <algorithm>
#include <filesystem>
#include <functional>

#include "io/gguf.h"
#include "io/safe_open.h"
#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

constexpr size_t kMaxFileBytes = 128u << 20;
constexpr size_t kMaxConfigBytes = 16u << 20;

using ReadFile = std::function<Result<std::string>(std::string_view name, size_t max_bytes)>;

// tiktoken's text format under SentencePiece's usual name: Llama 3 ships its vocabulary that way.
bool LooksLikeTiktoken(std::string_view bytes) {
  const size_t end = bytes.substr(0, 4096).find('\n');
  if (end == std::string_view::npos) return false;
  const std::string_view line = bytes.substr(0, end);
  return line.find(' ') != std::string_view::npos &&
         std::all_of(line.begin(), line.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '+' || c == '/' || c == '=' || c == ' ' || c == '\r';
         });
}

// An absent file is null; a broken one is an error.
Result<Json> ReadJson(const ReadFile& read, const std::string& folder, std::string_view name) {
  Result<std::string> text = read(name, kMaxConfigBytes);
  if (!text.ok()) {
    if (text.status().code() == StatusCode::kNotFound) return Json();
    return text.status();
  }
  return Json::Parse(*text, folder + "/" + std::string(name));
}

Result<std::shared_ptr<const Tokenizer>> LoadNamed(std::string_view name, std::string_view bytes,
                                                   std::string_view culprit,
                                                   const TokenizerSideFiles& side) {
  if (name.ends_with(".json")) return LoadTokenizerJson(bytes, culprit, side);
  if (name.ends_with(".tiktoken") || LooksLikeTiktoken(bytes)) {
    return LoadTiktoken(bytes, culprit, side);
  }
  return LoadSentencePiece(bytes, culprit, side);
}

// The first tokenizer file of a folder, in the order of tokenizer.h.
Result<std::shared_ptr<const Tokenizer>> LoadFolder(const std::string& folder, const ReadFile& read,
                                                    TokenizerSideFiles side) {
  RILL_ASSIGN_OR_RETURN(side.tokenizer_config, ReadJson(read, folder, "tokenizer_config.json"));
  RILL_RETURN_IF_ERROR(CheckSideFiles(side).WithPrefix(folder));
  const auto culprit = [&](std::string_view name) { return folder + "/" + std::string(name); };
  for (const std::string_view name : {"tokenizer.json", "tokenizer.model"}) {
    Result<std::string> bytes = read(name, kMaxFileBytes);
    if (bytes.ok()) return LoadNamed(name, *bytes, culprit(name), side);
    if (bytes.status().code() != StatusCode::kNotFound) return bytes.status();
  }
  Result<std::string> vocab = read("vocab.json", kMaxFileBytes);
  Result<std::string> merges = read("merges.txt", kMaxFileBytes);
  if (vocab.ok() && merges.ok()) {
    return LoadVocabMerges(*vocab, *merges, culprit("vocab.json"), side);
  }
  Result<std::string> words = read("vocab.txt", kMaxFileBytes);
  if (words.ok()) return LoadVocabTxt(*words, culprit("vocab.txt"), side);
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".tiktoken")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  if (!names.empty()) {
    RILL_ASSIGN_OR_RETURN(const std::string bytes, read(names[0], kMaxFileBytes));
    return LoadTiktoken(bytes, culprit(names[0]), side);
  }
  return NotFound(folder +
                  ": no tokenizer: expected tokenizer.json, tokenizer.model, vocab.json with "
                  "merges.txt, vocab.txt or a *.tiktoken file");
}

ReadFile FolderReader(const std::string& folder) {
  return [folder](std::string_view name, size_t max_bytes) -> Result<std::string> {
    RILL_ASSIGN_OR_RETURN(const io::OpenedFile file, io::OpenRegularFileBeneath(folder, name));
    return io::ReadAll(file, folder + "/" + std::string(name), max_bytes);
  };
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LoadTokenizer(const io::ModelSource& source) {
  TokenizerSideFiles side;
  if (source.gguf) return LoadGgufTokenizer(*source.gguf, source.path, side);
  side.generation_config = source.generation_config;
  side.config = source.config;
  const ReadFile read = [&source](std::string_view name, size_t max_bytes) {
    return source.ReadSideFile(name, max_bytes);
  };
  return LoadFolder(source.folder, read, std::move(side));
}

Result<std::shared_ptr<const Tokenizer>> LoadTokenizerFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    const ReadFile read = FolderReader(path);
    TokenizerSideFiles side;
    RILL_ASSIGN_OR_RETURN(side.generation_config, ReadJson(read, path, "generation_config.json"));
    RILL_ASSIGN_OR_RETURN(side.config, ReadJson(read, path, "config.json"));
    return LoadFolder(path, read, std::move(side));
  }
  const std::string name = std::filesystem::path(path).filename().string();
  if (name.ends_with(".gguf")) {
    RILL_ASSIGN_OR_RETURN(const io::GgufFile file, io::OpenGguf(path));
    return LoadGgufTokenizer(file.metadata, path);
  }
  if (!name.ends_with(".json") && !name.ends_with(".tiktoken") && !name.ends_with("vocab.txt") &&
      name.find(".model") == std::string::npos) {
    return InvalidArgument(path +
                           ": expected a folder or a .gguf, .json, .model, .tiktoken or "
                           "vocab.txt file");
  }
  RILL_ASSIGN_OR_RETURN(const io::OpenedFile file, io::OpenRegularFile(path));
  RILL_ASSIGN_OR_RETURN(const std::string bytes, io::ReadAll(file, path, kMaxFileBytes));
  if (name.ends_with("vocab.txt")) return LoadVocabTxt(bytes, path, {});
  return LoadNamed(name, bytes, path, {});
}

}  // namespace rill::text
