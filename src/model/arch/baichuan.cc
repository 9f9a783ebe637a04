// Baichuan 1 and 2: Llama with fused q, k, v. The 7B models rotate, the 13B models use ALiBi: only
// the former have max_position_embeddings. Baichuan 2 (vocabulary of 125,696) has a NormHead: the
// rows of lm_head are scaled to length 1 (Yang et al. 2023, arXiv:2309.10305).
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  DecoderSpec& s = out.spec;
  if (!c.Has({"max_position_embeddings"})) {
    UseNoRope(out);
    s.alibi_slopes = AlibiSlopes(s.num_heads);
  }
  s.norm_head = s.vocab_size == 125696;
  out.names.q.clear();
  out.names.qkv = "self_attn.W_pack";
}

// Permuted like Llama; lm_head is as it was (scaling rows of length 1 again changes nothing). The
// 13B models are those with 40 layers.
void ReadGguf(GgufConfig& g, Description& out) {
  const bool alibi = g.Size("block_count") == 40;
  ReadGgufLlamaLike(g, out, {.rope = !alibi, .rope_interleaved = true});
  if (alibi) out.spec.alibi_slopes = AlibiSlopes(out.spec.num_heads);
  out.spec.norm_head = out.spec.vocab_size == 125696;
}

}  // namespace

const Family& BaichuanFamily() {
  static const Family kFamily = {.name = "baichuan",
                                 .hf_types = {"baichuan"},
                                 .gguf = {"baichuan"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
