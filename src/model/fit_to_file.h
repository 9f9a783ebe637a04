// What a file decides about a description that config.json made: under which prefix the tensors
// are, and whether the LM head is a matrix of its own.
#pragma once

#include "io/tensor_directory.h"
#include "model/config_reader.h"

namespace rill::model {

// A checkpoint of the bare model leaves the head model's prefix away ("wte" for "transformer.wte",
// as GPT-2, BLOOM and OPT were released), and newer multimodal ones spell theirs the other way
// round. When the embedding is not where the family says but under such a name, all names follow.
void FitNames(const io::TensorDirectory& tensors, WeightNames& names);

// A file with an LM head that differs from the embedding is not tied, whatever its configuration
// says: what transformers does, too.
void FitHead(const io::TensorDirectory& tensors, Description& out);

}  // namespace rill::model
