// ServedModel: a model under the names that clients use.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llm/serving_model.h"
#include "server/metrics/model_metrics.h"
#include "server/openai/generation_params.h"

namespace rill::server {

struct ServedModel {
  std::string id;  // the first name: in /v1/models, metrics and logs
  std::vector<std::string> aliases;
  std::string path;
  int64_t created = 0;      // Unix time of the load
  std::string fingerprint;  // system_fingerprint: the model's arithmetic, bit by bit
  openai::ParseLimits limits;
  std::unique_ptr<llm::ServingModel> llm;
  ModelMetrics metrics;

  bool Answers(std::string_view name) const {
    if (name == id) return true;
    for (const std::string& alias : aliases) {
      if (name == alias) return true;
    }
    return false;
  }
};

}  // namespace rill::server
