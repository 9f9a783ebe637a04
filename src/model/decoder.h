// The one decoder forward, recorded into a Program: straight-line code over the builder, driven by
// a DecoderSpec. Encoders (BERT) run the same blocks without the causal mask and give hidden
// states.
#pragma once

#include "model/builder.h"
#include "model/decoder_spec.h"
#include "model/weights.h"

namespace rill::model {

// Records embedding, layers, last norm and LM head; behind the last attention only rows whose
// logits are wanted go on. The logits are the caller's memory.
void RecordDecoder(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights);

}  // namespace rill::model
