#include "ops/reference/rope.h"

#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceRope(const RopeArgs& args, Stream&) {
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    for (int64_t h = 0; h < args.x.dim(1); ++h) {
      RotateHead(RowOf(args.x, t, h), args.cos_sin.Row<float>(t), args.cos_sin.dim(1),
                 args.interleaved);
    }
  }
}

}  // namespace rill::ops::reference
