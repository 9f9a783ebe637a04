// safetensors files: 8-byte little-endian header length, JSON header, raw tensor bytes.
// Source: the safetensors format description (huggingface/safetensors README, "Format").
// As strict as the reference: header at most 100 MB, offsets contiguous without holes or overlap,
// shape x dtype equal to the byte range, no trailing bytes, no duplicate names.
#pragma once

#include <span>
#include <string>

#include "io/gguf.h"
#include "io/tensor_directory.h"

namespace rill::io {

// One file, appended to `out`.
Status OpenSafetensors(const std::string& path, const OpenOptions& options, TensorDirectory& out);
// A sharded model: every shard that the index's weight_map names, each inside the index's folder
// (no slashes, no "..", no symlink that leads outside). Each name must be in the shard that the
// map says.
Status OpenSafetensorsIndex(const std::string& index_path, const OpenOptions& options,
                            TensorDirectory& out);
// From bytes in memory, which must outlive `out`. For fuzzing.
Status ParseSafetensors(std::span<const std::byte> bytes, std::string_view culprit,
                        TensorDirectory& out);

}  // namespace rill::io
