// Alone in its file: the header changes with every commit.
#include "llm/build_commit.h"

#include "rill_commit.h"

namespace rill::llm {

const char* BuildCommit() {
  return RILL_COMMIT;
}

}  // namespace rill::llm
