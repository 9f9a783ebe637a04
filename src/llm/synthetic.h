// Models of random weights, made in memory: "synthetic:llama-1.1b:q4_0". They answer nonsense at
// the speed of a real model of that shape and format.
//
// Such a model is a GGUF file in memory, byte for byte what WriteSyntheticModel gives, and is read
// by the same code as a file. Formats: any that quant/random_weights.h fills, with the output
// matrix in Q6_K as llama.cpp's converter has it for block formats, and the mixtures q4_k_m and
// q5_k_m.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

inline constexpr std::string_view kSyntheticPrefix = "synthetic:";

// "llama-1.1b", …
std::vector<std::string> SyntheticShapes();

// `spec`: SHAPE:FORMAT, with or without the prefix. Errors: kInvalidArgument naming the shapes
// there are, kUnsupported naming the formats; kResourceExhausted when memory runs out.
// kNone leaves the weights zero: their pages take neither time nor memory (for plans and for text).
enum class SyntheticWeights { kRandom, kNone };
Result<io::ModelSource> MakeSynthetic(std::string_view spec,
                                      SyntheticWeights weights = SyntheticWeights::kRandom);

// Gives back the memory of all weights but the embedding table. Only once the model is packed and
// reads nothing else in place.
void ReleaseSyntheticWeights(io::ModelSource& source);

}  // namespace rill::llm
