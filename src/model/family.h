// Family: one architecture as data. Each arch/<family>.cc has one, listed in arch_list.def.
//
// To add one: write arch/<family>.cc with `const Family& <Name>Family()`, add its line to
// arch_list.def, and a case to tests/oracle/make_family_checkpoints.py. Nothing else knows families.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_source.h"
#include "model/config_reader.h"
#include "rill/status.h"

namespace rill::model {

struct Family {
  std::string_view name;
  std::vector<std::string_view> hf_types;  // "model_type" of config.json
  std::vector<std::string_view> gguf;      // "general.architecture"
  void (*read_hf)(HfConfig& config, Description& out) = nullptr;
  void (*read_gguf)(GgufConfig& config, Description& out) = nullptr;
};

// All of them, in the order of arch_list.def.
std::span<const Family* const> Families();

// Reads the source's configuration through its family, checks every size, makes the RoPE tables.
// requested_context: positions; 0: what the model was trained for.
// Errors: kUnsupported with the nearest names for an unknown architecture; kInvalidArgument naming
// the key otherwise. Allocates nothing that depends on unchecked sizes.
Result<Description> Describe(const io::ModelSource& source, int32_t requested_context);

// The known names nearest to `name` by edit distance, at most `count`.
std::vector<std::string> NearestNames(std::string_view name, std::vector<std::string> known,
                                      size_t count);

}  // namespace rill::model
