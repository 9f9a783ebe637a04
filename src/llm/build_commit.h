// The commit that this binary was built from: "3f2a91c0de", "…-dirty" with changes, or "unknown".
#pragma once

namespace rill::llm {

const char* BuildCommit();

}  // namespace rill::llm
