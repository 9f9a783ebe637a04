#include "ops/reference/kernels.h"
#include "ops/reference/kv_page.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceKvAppend(const KvAppendArgs& args, Stream&) {
  const PagedKvView& kv = *args.kv;
  for (int32_t s = 0; s < kv.num_seqs; ++s) {
    const int32_t q_len = kv.q_offsets[s + 1] - kv.q_offsets[s];
    for (int32_t i = 0; i < q_len; ++i) {
      const int64_t t = kv.q_offsets[s] + i;
      const int32_t position = kv.kv_lens[s] - q_len + i;
      for (int32_t h = 0; h < kv.layout.num_kv_heads; ++h) {
        const KvPlace place = FindPlace(kv, s, position, args.layer, h);
        WriteKeyValue(kv.layout, place, RowOf(args.k, t, h), RowOf(args.v, t, h));
      }
    }
  }
}

}  // namespace rill::ops::reference
