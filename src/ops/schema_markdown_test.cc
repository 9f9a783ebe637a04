#include "ops/schema_markdown.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/testing.h"

namespace rill::ops {
namespace {

std::string Committed(const std::string& page) {
  std::ifstream file(testing::SourceDir() + "/docs/ops/" + page + ".md");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(SchemaMarkdown, CommittedPagesAreUpToDate) {
  const char* hint = "run build/ci/tests/gen_op_docs docs/ops";
  EXPECT_EQ(Committed("README"), SchemaIndexMarkdown()) << hint;
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    EXPECT_EQ(Committed(std::string(schema.name)), SchemaMarkdown(schema)) << hint;
  }
}

}  // namespace
}  // namespace rill::ops
