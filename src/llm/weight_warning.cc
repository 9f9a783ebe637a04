#include "llm/weight_warning.h"

#include <fmt/format.h>

#include "base/utf8.h"
#include "io/check_tensors.h"

namespace rill::llm {

std::optional<std::string> NonFiniteWarning(const std::string& path,
                                            const io::TensorDirectory& tensors) {
  const io::TensorReport report = io::SampleTensors(tensors);
  if (report.defects.empty()) return std::nullopt;
  const io::TensorDefect& first = report.defects[0];
  return fmt::format(
      "{}: tensor '{}': {} weights that are NaN or Inf were seen, the first at element {}{}; "
      "expect nonsense (--check-tensors refuses such a file)",
      path, PrintableUtf8(first.name, 100), first.num_nan + first.num_inf, first.first_index,
      report.defects.size() > 1 ? fmt::format(", and {} more tensors", report.defects.size() - 1)
                                : std::string());
}

}  // namespace rill::llm
