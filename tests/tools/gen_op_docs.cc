// gen_op_docs FOLDER: writes the page of every op and their index there.
#include <fstream>
#include <iostream>

#include "ops/schema_markdown.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: gen_op_docs FOLDER\n";
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/";
  std::ofstream(folder + "README.md") << rill::ops::SchemaIndexMarkdown();
  for (int i = 0; i < rill::ops::kNumOps; ++i) {
    const auto& schema = rill::ops::SchemaOf(static_cast<rill::ops::OpId>(i));
    std::ofstream file(folder + std::string(schema.name) + ".md");
    file << rill::ops::SchemaMarkdown(schema);
    if (!file.flush()) {
      std::cerr << folder << schema.name << ".md: cannot write\n";
      return 1;
    }
  }
  return 0;
}
