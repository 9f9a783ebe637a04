#include "ops/dim_solver.h"

#include <cctype>
#include <charconv>

#include "base/check.h"

namespace rill::ops {
namespace {

bool IsNumber(std::string_view text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0]));
}

int64_t Number(std::string_view text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

std::vector<std::string_view> SplitTrimmed(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  if (Trim(text).empty()) return parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(Trim(text.substr(0, at)));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<int64_t> DimSolver::Get(std::string_view name) const {
  if (IsNumber(name)) return Number(name);
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

DimSolver::Product DimSolver::Parse(std::string_view expression) const {
  Product product;
  bool divide = false;
  while (!expression.empty()) {
    const size_t end = expression.find_first_of("*/");
    const std::string_view factor = Trim(expression.substr(0, end));
    std::optional<int64_t> value;
    const size_t plus = factor.find('+');
    if (plus != std::string_view::npos) {  // (name+name), both known
      CHECK(factor.starts_with('(') && factor.ends_with(')')) << factor;
      const auto left = Get(Trim(factor.substr(1, plus - 1)));
      const auto right = Get(Trim(factor.substr(plus + 1, factor.size() - plus - 2)));
      if (left && right) value = *left + *right;
    } else if (factor.starts_with('(')) {  // (number-name)
      const size_t minus = factor.find('-');
      CHECK(minus != std::string_view::npos && factor.ends_with(')')) << factor;
      value = Get(Trim(factor.substr(minus + 1, factor.size() - minus - 2)));
      if (value) value = Number(factor.substr(1)) - *value;
    } else {
      value = Get(factor);
    }
    if (!value) {
      product.unknown.push_back(factor);
      CHECK(!divide) << "division by unknown " << factor;
    } else {
      (divide ? product.denominator : product.numerator) *= *value;
    }
    if (end == std::string_view::npos) break;
    divide = expression[end] == '/';
    expression.remove_prefix(end + 1);
  }
  return product;
}

std::optional<int64_t> DimSolver::Evaluate(std::string_view expression) const {
  const Product product = Parse(expression);
  if (!product.unknown.empty() || product.denominator == 0 ||
      product.numerator % product.denominator != 0) {
    return std::nullopt;
  }
  return product.numerator / product.denominator;
}

bool DimSolver::Solve(std::string_view expression, int64_t size) {
  const Product product = Parse(expression);
  if (product.unknown.size() != 1 || product.numerator == 0) return false;
  const int64_t scaled = size * product.denominator;
  if (scaled % product.numerator != 0) return false;
  Set(product.unknown[0], scaled / product.numerator);
  return true;
}

std::string DimSolver::Describe(std::string_view expression) const {
  std::string text(expression);
  if (IsNumber(expression) && expression.find('*') == std::string_view::npos) return text;
  const std::optional<int64_t> value = Evaluate(expression);
  return value ? text + "=" + std::to_string(*value) : text;
}

bool DimSolver::Holds(std::string_view constraint) const {
  const auto words = SplitTrimmed(constraint, ' ');
  CHECK(words.size() == 3 || words.size() == 5) << constraint;
  const auto left = Evaluate(words[0]);
  const auto right = Evaluate(words[2]);
  if (!left || !right) return true;
  if (words[1] == "<=") return *left <= *right;
  if (words[1] == "<") return *left < *right;
  CHECK(words[1] == "%") << constraint;
  return *right != 0 && *left % *right == 0;
}

std::string DimSolver::DescribeNames(std::string_view constraint) const {
  std::string text;
  while (!constraint.empty()) {
    size_t end = 0;
    while (end < constraint.size() &&
           (std::isalnum(static_cast<unsigned char>(constraint[end])) || constraint[end] == '_')) {
      ++end;
    }
    const std::string_view word = constraint.substr(0, end);
    if (!word.empty() && !IsNumber(word)) {
      text += (text.empty() ? "" : ", ") + Describe(word);
    }
    constraint.remove_prefix(end == 0 ? 1 : end);
  }
  return text;
}

}  // namespace rill::ops
