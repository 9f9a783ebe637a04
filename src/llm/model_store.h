// ModelStore: the one folder where pulled models live, and what a MODEL argument means.
//
//   <root>/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf      pulled by a short name
//   <root>/models/hf/<owner>/<repo>/…                          pulled from the Hugging Face Hub
//   <root>/models/<name>/<file>.gguf                           pulled from a URL, or put by hand
//
// A model's folder may hold `.rill-pull.json` (where it came from, sizes and SHA-256 of its files;
// see pull_manifest.h). Files that a pull has begun and not finished are not offered.
//
// Thread-compatible: the object is only a path; every call looks at the disk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rill/model_store.h"
#include "rill/status.h"

namespace rill::llm {

// One model that can be opened.
struct StoredModel {
  std::string name;  // what to say as MODEL: "smollm2", "hf:owner/repo", "hf:owner/repo:file"
  std::string path;  // a .gguf file (the first part of a split one) or a folder
  uint64_t size_bytes = 0;  // of its weight files
  std::string source;       // where it was pulled from; empty when put there by hand
};

class ModelStore {
 public:
  explicit ModelStore(std::string root) : root_(std::move(root)) {}

  // $RILL_CACHE, else $XDG_CACHE_HOME/rill, else ~/.cache/rill. The folder need not exist.
  // Errors: kFailedPrecondition when none of the three variables says where.
  static Result<ModelStore> FromEnvironment();

  const std::string& root() const { return root_; }
  std::string models_folder() const { return root_ + "/models"; }

  // What io::OpenModel should open for MODEL, which is one of
  //   smollm2, my-model[:FILE]     a name in the store
  //   hf:<owner>/<repo>[:FILE]     pulled from the Hub before
  //   path/to/model.gguf, folder   a file or folder on disk
  // FILE is a file's name or a word that only one file's name holds ("Q8_0"). Of several GGUF
  // files without FILE, PreferredGguf() chooses. A word without a slash that is both a name in
  // the store and a file is the name: "./word" means the file.
  // Errors: kNotFound (lists what is in the store and how to pull), kInvalidArgument (FILE fits
  // several files; the name cannot be one), kFailedPrecondition (half pulled).
  Result<std::string> Resolve(std::string_view model) const;

  // Does `word` mean a model, so that `rill run WORD` is not a prompt? True when Resolve()
  // succeeds, and for words that can hardly be anything else: "hf:…", an existing path, a name that
  // ends in .gguf or .safetensors. A prompt with spaces that names no file is false.
  bool LooksLikeModel(std::string_view word) const;

  // All models of the store, by name.
  std::vector<StoredModel> List() const;

 private:
  std::string root_;
};

// Which of several GGUF files to take when nobody says: the only one; else the first that is
// Q4_K_M, else Q8_0, else Q4_0; split models count as one file, named by their first part.
// Returns an index into `names`, or -1 when the rule decides nothing.
int PreferredGguf(const std::vector<std::string>& names);

// For one file of a split model ("m-00002-of-00003.gguf") the name without the part
// ("m.gguf"); other names as they are.
std::string SplitModelStem(std::string_view file_name);

// The file that `wanted` means among `names`: the one with that very name, else the only one
// whose name holds `wanted` as a word (case-insensitive, split models counted once).
// Errors: kNotFound / kInvalidArgument, with the names.
Result<std::string> MatchFile(const std::vector<std::string>& names, std::string_view wanted);

// A hub repository and an optional file: "hf:owner/repo:file".
struct HubName {
  std::string repo;  // "owner/repo"
  std::string file;  // empty: choose
};
// Errors: kInvalidArgument when the text does not have that form. Owner and repo are
// [A-Za-z0-9._-]+ and never start with a dot.
Result<HubName> ParseHubName(std::string_view text);

// May `name` be joined to a folder of ours? One or more components of printable UTF-8 between
// single slashes; none is "." or "..", starts with a dot, or is longer than 255 bytes; no
// backslash. Errors: kInvalidArgument naming the culprit, escaped.
Status CheckRelativeFileName(std::string_view name);

}  // namespace rill::llm
