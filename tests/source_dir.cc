// The one object whose bytes depend on where the checkout lies. Every other test object is the same
// in every checkout, so a compiler cache that they share serves them all.
#include "base/testing.h"

namespace rill::testing {

std::string SourceDir() {
  return RILL_SOURCE_DIR;
}

}  // namespace rill::testing
