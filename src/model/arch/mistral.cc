// Mistral: Llama with a sliding window in every layer (or none). Its GGUF files say "llama".
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out, {.context = 131072, .kv_heads = 8});
  SetWindows(c, out.spec, c.OptionalInt({"sliding_window"}, 4096), [](int32_t) { return true; });
}

}  // namespace

const Family& MistralFamily() {
  static const Family kFamily = {
      .name = "mistral", .hf_types = {"mistral"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
