#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceRopeKvAppend(const RopeKvAppendArgs& args, Stream& stream) {
  RopeArgs rope;
  rope.cos_sin = args.cos_sin;
  rope.interleaved = args.interleaved;
  rope.x = args.q;
  ReferenceRope(rope, stream);
  rope.x = args.k;
  ReferenceRope(rope, stream);
  KvAppendArgs append;
  append.k = args.k;
  append.v = args.v;
  append.kv = args.kv;
  append.layer = args.layer;
  ReferenceKvAppend(append, stream);
}

}  // namespace rill::ops::reference
