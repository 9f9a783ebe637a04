#include "arithmetic_text.h"

#include <fmt/format.h>

namespace rill::app {

std::string ArithmeticText(const LoadOptions& options, std::string_view separator) {
  const bool own = options.weights == "w8a8";
  return fmt::format("weights {}{}activations {}{}{}kv {}", options.weights, separator,
                     own ? "int8 per token, elsewhere " : "", options.activations, separator,
                     options.kv_dtype);
}

}  // namespace rill::app
