// The reference kernel of every op: Reference<Name>(args, stream), one file each.
//
// Slow and obvious on purpose. Ops whose contract fixes every f32 operation (copies, add, scale,
// rope, conversions) do exactly that and are compared bit for bit; all others compute in f64 and
// round once at the end, so they are the truth that other backends approach within a bound.
#pragma once

#include "ops/backend.h"

namespace rill::ops::reference {

#define OP(file, Name) void Reference##Name(const Name##Args& args, Stream& stream);
#include "ops/op_list.def"
#undef OP

}  // namespace rill::ops::reference
