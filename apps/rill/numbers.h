// Numbers in the words of the command line: decimal, the whole word, in range.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <type_traits>

namespace rill::app {

// The number that is all of `word`; nullopt when it is none, does not fit T, or is NaN or Inf. An
// integer is digits, with a '-' before them where T has a sign: no spaces, no '+', no 0x, and a
// leading 0 changes nothing.
template <typename T>
std::optional<T> ParseNumber(std::string_view word) {
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

// Type name of an integer option that takes 'none' for 0.
inline constexpr char kIntegerOrNone[] = "INT|none";

// Makes every numeric option of `app` and of its subcommands take such words only. To be called
// when all are there; CLI11's own conversion reads 010 as 8, and clamps what is too large.
void RequireDecimalNumbers(CLI::App& app);

// Checks of an option: a number in [low, high], or in (low, high].
CLI::Validator Between(double low, double high);
CLI::Validator AboveUpTo(double low, double high);

}  // namespace rill::app
