// GPTBigCode (StarCoder 1, SantaCoder): GPT-2 with multi-query attention and linear layers.
// Li et al. 2023, arXiv:2305.06161.
#include "model/arch/common.h"
#include "model/arch/gpt2_like.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfGpt2Like(c, out);
  const bool multi_query = c.Bool({"multi_query"}, true);
  if (multi_query) out.spec.num_kv_heads = 1;
  out.names.qkv_layout = multi_query ? QkvLayout::kConcatenated : QkvLayout::kPerHead;
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufGpt2Like(g, out);
}

}  // namespace

const Family& GptBigcodeFamily() {
  static const Family kFamily = {.name = "gpt_bigcode",
                                 .hf_types = {"gpt_bigcode"},
                                 .gguf = {"starcoder"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
