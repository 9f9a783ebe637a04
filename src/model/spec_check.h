// Bounds of a DecoderSpec: everything that a hostile configuration could claim, refused before
// anything is allocated for it.
#pragma once

#include "model/decoder_spec.h"
#include "rill/status.h"

namespace rill::model {

inline constexpr int32_t kMaxHeads = 1 << 14;

// Sizes and counts. `num_tensors` of the file bounds the number of layers.
Status CheckSpec(const DecoderSpec& spec, int64_t num_tensors);
// Per-layer facts against the sizes and the ropes.
Status CheckLayers(const DecoderSpec& spec);

}  // namespace rill::model
