// The Hub's answer about a repository: parsed, and files chosen from it. Whatever the bytes say, a
// chosen file's name stays inside the model's folder.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "llm/hub.h"
#include "llm/model_store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto repository = rill::llm::ParseHubRepository("owner/repo", text);
  if (!repository.ok()) return 0;
  // The end of the input doubles as the word that a user might ask for.
  const std::string wanted(text.substr(size - size / 8));
  for (const std::string& word : {std::string(), wanted}) {
    const auto selection = rill::llm::SelectHubFiles(*repository, word);
    if (!selection.ok()) continue;
    for (const rill::llm::HubFile& file : selection->files) {
      if (!rill::llm::CheckRelativeFileName(file.name).ok()) std::abort();
      if (("/" + file.name + "/").find("/../") != std::string::npos) std::abort();
    }
  }
  return 0;
}
