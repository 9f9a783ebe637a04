// The processors of processor_list.def. Each is one file: a test whether the request asks for it,
// and the work.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "sampling/candidates.h"
#include "sampling/request_sampling.h"
#include "sampling/token_mask.h"
#include "sampling/workspace.h"

namespace rill::sampling {

// What a processor may look at: the request, and the output of this choice so far.
struct ProcessorContext {
  const RequestSampling& request;
  int32_t num_output = 0;
  const std::unordered_map<int32_t, int32_t>& output_counts;  // token id -> occurrences
  const TokenMask* mask = nullptr;
  SamplerWorkspace& workspace;
};

enum class ProcessorKind : uint8_t { kLogits, kFilter };

#define PROCESSOR(file, Name, kind)                  \
  bool Wants##Name(const ProcessorContext& context); \
  void Process##Name(const ProcessorContext& context, Candidates& candidates);
#include "sampling/processor_list.def"
#undef PROCESSOR

}  // namespace rill::sampling
