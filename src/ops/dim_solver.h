// DimSolver: named sizes of one call, found from shapes and attributes, and expressions over them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rill::ops {

class DimSolver {
 public:
  void Set(std::string_view name, int64_t value) { values_.emplace(name, value); }
  std::optional<int64_t> Get(std::string_view name) const;

  // Value of "2*intermediate_size", "(2-ungated)*size", "(a+b)*c", "rotary_dim/2"; nothing while a
  // name in it is unknown or the division leaves a rest.
  std::optional<int64_t> Evaluate(std::string_view expression) const;
  // Learns the one unknown name of `expression` from its size. False when none fits.
  bool Solve(std::string_view expression, int64_t size);
  // "hidden_size=576", or the expression alone while unknown.
  std::string Describe(std::string_view expression) const;
  // Is "a <= b", "a < b" or "a % b == 0" true? Also true while a name in it is unknown.
  bool Holds(std::string_view constraint) const;
  // "rotary_dim=64, head_dim=32": the names of a constraint with their sizes.
  std::string DescribeNames(std::string_view constraint) const;

 private:
  // numerator * unknown / denominator
  struct Product {
    int64_t numerator = 1, denominator = 1;
    std::vector<std::string_view> unknown;
  };
  Product Parse(std::string_view expression) const;

  std::map<std::string_view, int64_t> values_;
};

// "a, b" -> {"a", "b"}, split at `separator`, blanks trimmed. Empty text gives nothing.
std::vector<std::string_view> SplitTrimmed(std::string_view text, char separator);

}  // namespace rill::ops
