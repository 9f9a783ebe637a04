// Do two strided views share an element? Exact, so that the two column halves of one buffer pass.
#pragma once

#include "tensor/tensor_view.h"

namespace rill::ops {

// Strides must not be negative and the last one must be 1 (plain dtypes only). Views of more than
// 2^20 runs count as overlapping when their byte ranges do.
bool Overlap(const TensorView& a, const TensorView& b);
// True when two different indices of `view` name the same element.
bool SelfOverlap(const TensorView& view);
// Same memory, element for element.
bool SameView(const TensorView& a, const TensorView& b);

}  // namespace rill::ops
