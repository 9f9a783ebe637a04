// GPTQ checkpoints: codes packed along k, one scale and one zero point for a group of k and a row.
//   w[n, k] = scales[g, n] * (q[k, n] - z[g, n])        g = g_idx[k], or k / group_size without it
//   qweight  i32 [K * bits / 32, N]   code k of row n: bits [k * bits, (k + 1) * bits) of the words
//                                     of column n put end to end
//   qzeros   i32 [G, N * bits / 32]   code n of group g, the same along its row
//   scales   f16 | bf16 | f32 [G, N]
//   g_idx    i32 [K], optional        any order of groups ("act-order", desc_act)
// Zero points: format "gptq_v2" stores z, format "gptq" (v1) stores z - 1. 1 is added to every
// field of a v1 word with carry, which undoes exactly what writers that subtract from whole words
// did; where no field is all ones (any symmetric checkpoint) that is field + 1. At 3 bits, whose
// fields cross words, see Int3Zeros. Source: Frantar et al. 2022, arXiv:2210.17323; layout as
// AutoGPTQ and GPTQModel write it.
#pragma once

#include <memory>

#include "quant/row_reader.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::quant {

// What a writer of v1 made of 3-bit zero points.
enum class Int3Zeros : uint8_t {
  kFields,   // field = (z - 1) mod 8: AutoGPTQ, GPTQModel from 7.0 on
  kWords,    // 0x24924924, 0x92492492 and 0x49249249 taken from every three words in turn, modulo
             // 2^32, which is not 1 from each field: GPTQModel before 6.1
  kUnknown,  // one of them: only a matrix whose zero points are all 4 tells which
};

struct GptqTensors {
  TensorView qweight, qzeros, scales;
  TensorView g_idx;         // may be empty
  int64_t rows = 0;         // N, a multiple of 32 / bits (3 bits: 32)
  int64_t cols = 0;         // K, a multiple of 32
  int bits = 4;             // 2, 3, 4, 8
  int64_t group_size = -1;  // -1: all of k
  bool zeros_minus_one = true;
  Int3Zeros int3_zeros = Int3Zeros::kFields;  // of 3 bits and zeros_minus_one
};

// Rows of u<bits>g<B>, B the largest of 128, 64, 32 that divides every group; at 8 bits of q8_0
// where every zero point is 128 (a symmetric checkpoint: the same weights). 3-bit zero points of v1
// that are all 4 in one of the two ways are read so whatever int3_zeros is. With act-order, groups
// are brought together: stored column i is input Order()[i]. The views must outlive the reader;
// their shapes and dtypes are as above (the caller checked). Errors begin with "qweight: " or
// another such tensor: kInvalidArgument for a g_idx outside [0, G); kUnsupported for groups that
// are not whole multiples of 32, a scale that f16 cannot hold exactly, or zero points of
// Int3Zeros::kUnknown.
Result<std::shared_ptr<const RowReader>> MakeGptqRows(const GptqTensors& tensors);

}  // namespace rill::quant
