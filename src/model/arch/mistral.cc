// Mistral: Llama with a sliding window in every layer (or none). Its GGUF files say "llama".
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  SetWindows(c, out.spec, c.Int({"sliding_window"}, 0), [](int32_t) { return true; });
}

}  // namespace

const Family& MistralFamily() {
  static const Family kFamily = {
      .name = "mistral", .hf_types = {"mistral"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
