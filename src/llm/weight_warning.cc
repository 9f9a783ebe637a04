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
  const int64_t count = first.num_nan + first.num_inf;
  const std::string seen =
      count == 1
          ? fmt::format("a weight that is NaN or Inf was seen, element {}", first.first_index)
          : fmt::format("{} weights that are NaN or Inf were seen, the first at element {}", count,
                        first.first_index);
  const size_t others = report.defects.size() - 1;
  return fmt::format(
      "{}: tensor '{}': {}{}; expect nonsense (--check-tensors refuses such a file)", path,
      PrintableUtf8(first.name, 100), seen,
      others == 0 ? std::string()
                  : fmt::format(", and {} more {}", others, others == 1 ? "tensor" : "tensors"));
}

}  // namespace rill::llm
