// Pulling models into the store: rill::PullModel() with what a test may want to choose.
#pragma once

#include <string>
#include <string_view>

#include "llm/download.h"
#include "llm/hub.h"
#include "llm/model_store.h"
#include "rill/model_store.h"
#include "rill/status.h"

namespace rill::llm {

struct PullSettings {
  HubAccess hub;
  bool offline = false;
  TransferSettings transfer;  // its is_cancelled is set by Pull()

  // $HF_ENDPOINT (else the public Hub), $HF_TOKEN, $RILL_OFFLINE or $HF_HUB_OFFLINE ("1", "true",
  // "yes", "on"). Errors: kInvalidArgument for an endpoint that is plain http to another machine.
  static Result<PullSettings> FromEnvironment();
};

// As rill::PullModel, into `store`. Two pulls of one model at once: the second is refused
// (kFailedPrecondition).
Result<PulledModel> Pull(const ModelStore& store, std::string_view spec, const PullOptions& options,
                         const PullSettings& settings);

}  // namespace rill::llm
