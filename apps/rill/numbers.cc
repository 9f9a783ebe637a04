#include "numbers.h"

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace rill::app {
namespace {

// Rewrites a good word as CLI11 reads it the same way; the error otherwise.
template <typename T>
std::string MakeDecimal(std::string& word, std::string_view expected) {
  const std::optional<T> value = ParseNumber<T>(word);
  if (!value) return fmt::format("expected {}, got '{}'", expected, word);
  if constexpr (std::is_integral_v<T>) word = std::to_string(*value);
  return "";
}

std::string MakeInteger(std::string& word) {
  return MakeDecimal<int64_t>(word, "a whole number");
}

std::string MakeIntegerOrNone(std::string& word) {
  if (word == "none") word = "0";
  return MakeDecimal<int64_t>(word, "a whole number or 'none'");
}

std::string MakeUnsigned(std::string& word) {
  return MakeDecimal<uint64_t>(word, "a whole number from 0 to 2^64 - 1");
}

std::string MakeReal(std::string& word) {
  return MakeDecimal<double>(word, "a number");
}

CLI::Validator RangeCheck(const std::string& range, std::function<bool(double)> holds) {
  return CLI::Validator(
      [range, holds = std::move(holds)](std::string& word) {
        const std::optional<double> value = ParseNumber<double>(word);
        return value && holds(*value)
                   ? std::string()
                   : fmt::format("expected a number in {}, got '{}'", range, word);
      },
      "in " + range);
}

}  // namespace

void RequireDecimalNumbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options({})) {
    // The type's name as --help has it, then the checks: "INT:INT in [0 - 1024]".
    std::string type = option->get_type_name();
    type = type.substr(0, type.find(':'));
    // transform() puts it before the other checks.
    if (type == "INT") option->transform(CLI::Validator(MakeInteger, ""));
    if (type == kIntegerOrNone) option->transform(CLI::Validator(MakeIntegerOrNone, ""));
    if (type == "UINT") option->transform(CLI::Validator(MakeUnsigned, ""));
    if (type == "FLOAT") option->transform(CLI::Validator(MakeReal, ""));
  }
  for (CLI::App* command : app.get_subcommands({})) RequireDecimalNumbers(*command);
}

CLI::Validator Between(double low, double high) {
  return RangeCheck(fmt::format("[{}, {}]", low, high),
                    [low, high](double value) { return value >= low && value <= high; });
}

CLI::Validator AboveUpTo(double low, double high) {
  return RangeCheck(fmt::format("({}, {}]", low, high),
                    [low, high](double value) { return value > low && value <= high; });
}

}  // namespace rill::app
