// What GPT-2 and GPTBigCode share: LayerNorm, learned positions, biases everywhere, GELU.
#pragma once

#include "model/arch/common.h"

namespace rill::model {

void ReadHfGpt2Like(HfConfig& config, Description& out);
void ReadGgufGpt2Like(GgufConfig& config, Description& out);

}  // namespace rill::model
