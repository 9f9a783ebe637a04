// WeightMode: what becomes of the weights at load.
#pragma once

#include <cstdint>

namespace rill::model {

// How matrices of layers are kept: as the file has them, or quantised at load.
enum class WeightMode : uint8_t {
  kFile,
  kW8A8,    // int8 per row, activations int8 per token (quant/encode_rows.h)
  kW4G128,  // 4 bits, groups of 128 (64 or 32 where a row is no multiple)
};

}  // namespace rill::model
