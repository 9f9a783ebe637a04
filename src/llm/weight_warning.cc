#include "llm/weight_warning.h"

#include <fmt/format.h>

#include <unordered_set>

#include "base/utf8.h"

namespace rill::llm {
namespace {

std::string Seen(const io::TensorDefect& defect) {
  const int64_t count = defect.num_nan + defect.num_inf;
  if (count == 1) {
    return fmt::format("a weight that is NaN or Inf was seen, element {}", defect.first_index);
  }
  return fmt::format("{} weights that are NaN or Inf were seen, the first at element {}", count,
                     defect.first_index);
}

// ", and 2 more tensors", or nothing.
std::string AndMore(size_t others) {
  return others == 0 ? std::string()
                     : fmt::format(", and {} more {}", others, others == 1 ? "tensor" : "tensors");
}

}  // namespace

std::optional<std::string> NonFiniteWarning(const std::string& path,
                                            const io::TensorReport& sampled,
                                            std::span<const std::string> loaded) {
  std::unordered_set<std::string_view> names;
  for (const io::TensorDefect& defect : sampled.defects) names.insert(defect.name);
  for (const std::string& name : loaded) names.insert(name);
  if (names.empty()) return std::nullopt;
  const bool counted = !sampled.defects.empty();
  return fmt::format(
      "{}: tensor '{}': {}{}; expect nonsense (`rill inspect` lists the tensors, --check-tensors "
      "refuses such a file)",
      path, PrintableUtf8(counted ? sampled.defects[0].name : loaded[0], 100),
      counted ? Seen(sampled.defects[0]) : "weights that are NaN or Inf were seen",
      AndMore(names.size() - 1));
}

std::optional<std::string> MadeNonFiniteWarning(const std::string& path,
                                                std::span<const std::string> made) {
  if (made.empty()) return std::nullopt;
  std::unordered_set<std::string_view> names;
  for (const std::string& name : made) names.insert(name);
  return fmt::format(
      "{}: tensor '{}': finite in the file, but with Inf as f16, whose largest number is 65504{}; "
      "expect nonsense of every row, as all are compared with f16",
      path, PrintableUtf8(made[0], 100), AndMore(names.size() - 1));
}

}  // namespace rill::llm
