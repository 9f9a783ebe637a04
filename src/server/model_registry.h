// ModelRegistry: the models of a server, their names, and the memory that they share.
//
// Threads: Find, List and plans() from any thread. Load and Unload from any thread but a text
// service's; one at a time (others wait). A model that fails to load changes nothing.
// A request holds a shared_ptr to its model; an unloaded one is destroyed when the last is gone,
// by the thread that called Unload (or Clear).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "llm/serving_model.h"
#include "rill/server.h"
#include "server/served_model.h"

namespace rill::server {

class ModelRegistry {
 public:
  explicit ModelRegistry(const ServerOptions& options) : options_(options) {}
  ~ModelRegistry() { Clear(); }

  // Memory of all models together; each gets its weights and activations, the rest is KV memory,
  // in equal parts, none more than its sequences can use. kResourceExhausted, with the sums, when
  // the weights and one context each do not fit.
  Result<std::vector<ModelMemory>> PlanMemory(const std::vector<ModelSpec>& specs) const;

  // Loads `spec` with that much KV memory, or less where it turns out to take more than was
  // planned. `reserved_bytes` of the budget are left for others. Errors: kInvalidArgument for a
  // name in use, the loader's, kResourceExhausted with the sums when it does not fit.
  Status Load(const ModelSpec& spec, int64_t kv_bytes, int64_t reserved_bytes = 0);
  // The same, KV memory from what the budget has left.
  Status LoadWithinBudget(const ModelSpec& spec);
  // Takes the name away at once, waits for requests under way, then frees the memory.
  Status Unload(std::string_view name);
  void Clear();
  // Cancels the requests of every model, one that is being unloaded included: they end with an
  // error, and the unload goes on. From any thread.
  void CancelAll();

  // nullptr when no model has that name. With any_model_name an unknown one gets the first model.
  std::shared_ptr<ServedModel> Find(std::string_view name) const;
  // The one that an absent name means: the only one.
  std::shared_ptr<ServedModel> OnlyModel() const;
  std::vector<std::shared_ptr<ServedModel>> List() const;
  int64_t budget_bytes() const;  // of options, or 90 % of what the machine had at the start

 private:
  static void WaitUntilUnused(std::shared_ptr<ServedModel> model);

  const ServerOptions& options_;
  std::mutex load_mutex_;  // one load or unload at a time
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<ServedModel>> models_;  // guarded by mutex_
  // Out of models_, its requests still under way. Guarded by mutex_; weak: Unload counts holders.
  std::weak_ptr<ServedModel> unloading_;
};

// The operator's limits of one request; those of a model are added to them.
openai::ParseLimits ConfiguredLimits(const ServerOptions& options);

// Errors: kInvalidArgument for a name or an alias that is not 1 to 256 bytes of UTF-8, that no path
// can hold (/v1/models/{id}: control characters, backslashes, "." and "//"), or that stands twice.
Status CheckModelNames(const std::vector<ModelSpec>& specs);

// What a model is called when nobody says: the file's name without its suffix, the folder's name,
// or the name itself.
std::string ModelNameOf(std::string_view wanted);

}  // namespace rill::server
