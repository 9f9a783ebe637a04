// The Hugging Face Hub's HTTP interface: what a repository holds and which files make its model.
// Source: the Hub's API documentation (GET /api/models/<repo>/revision/<rev>?blobs=true and
// GET /<repo>/resolve/<rev>/<file>).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "llm/download.h"
#include "rill/status.h"

namespace rill::llm {

struct HubFile {
  std::string name;         // checked: may be joined to a folder
  uint64_t size_bytes = 0;  // 0: not told
  std::string sha256;       // of files in the large-file store
  std::string git_blob_id;  // of the others
};

struct HubRepository {
  std::string name;    // "owner/repo"
  std::string commit;  // 40 hexadecimal digits
  std::vector<HubFile> files;
  size_t num_refused_names = 0;  // names that CheckRelativeFileName refuses; left out of `files`
};

struct HubAccess {
  std::string endpoint;  // no slash at the end
  std::string token;     // empty: none
};

// The repository's main revision. Errors: as FetchText(), kDataLoss for an answer that is not
// what the Hub answers.
Result<HubRepository> FetchHubRepository(const HubAccess& access, const std::string& repo,
                                         const TransferSettings& settings);

// The same from the answer's text; for tests and fuzzing.
Result<HubRepository> ParseHubRepository(const std::string& repo, std::string_view text);

// Where the bytes of a file are: pinned to the commit, so that a push meanwhile mixes nothing.
std::string HubFileUrl(const HubAccess& access, const HubRepository& repository,
                       const HubFile& file);

struct HubSelection {
  std::vector<HubFile> files;  // in the order to fetch: small ones first
  std::string note;            // which file was chosen among which; empty when there was no choice
};
// Which files make the model.
//   wanted not empty: the file MatchFile() finds among the GGUF files, with all parts of a split.
//   safetensors:      config, tokenizer and template files, *.safetensors and their index at the
//                     top of the repository; of two sets model*.safetensors.
//   GGUF only:        the one PreferredGguf() chooses.
// Pickles (.bin, .pt, .pth) are never taken.
// Errors: kNotFound, kInvalidArgument (several GGUF files and no rule chooses; they are listed),
// kUnsupported (no weights in a format that Rill reads).
Result<HubSelection> SelectHubFiles(const HubRepository& repository, const std::string& wanted);

}  // namespace rill::llm
