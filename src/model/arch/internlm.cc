// InternLM 1: Llama with biases on q, k, v and o.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  out.spec.qkv_bias = out.spec.o_bias = c.Bool({"bias"}, true);
}

}  // namespace

const Family& InternlmFamily() {
  static const Family kFamily = {
      .name = "internlm", .hf_types = {"internlm"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
