// How an instruction set is chosen by name.
#include "backends/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "rill/cpu_isas.h"

namespace rill::cpu {
namespace {

// The words of "…: amx, avx512_vnni, scalar)".
std::set<std::string> Words(std::string_view text) {
  std::set<std::string> words;
  std::string word;
  for (char c : std::string(text) + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') {
      word += c;
    } else {
      words.insert(word);
      word.clear();
    }
  }
  return words;
}

TEST(CpuIsas, Available_AreThoseOfTheTablesAndEachCanBeChosen) {
  const auto isas = FindCpuIsas();
  ASSERT_TRUE(isas.ok());
  std::set<std::string> expected;
  for (const Kernels* kernels : AvailableKernels()) expected.insert(std::string(kernels->isa));
  EXPECT_EQ(std::set<std::string>(isas->available.begin(), isas->available.end()), expected);
  EXPECT_EQ(isas->available.size(), expected.size());
  if (std::getenv("RILL_CPU_ISA") == nullptr) {
    EXPECT_EQ(isas->in_use, isas->available.front());
  }
  for (const std::string& name : isas->available) {
    const auto chosen = FindCpuIsas(name);
    ASSERT_TRUE(chosen.ok()) << name;
    EXPECT_EQ(chosen->in_use, name);
  }
}

TEST(CpuIsas, UnknownName_IsRefusedWithEachNameThereIs) {
  const auto isas = FindCpuIsas("nonesuch");
  ASSERT_EQ(isas.status().code(), StatusCode::kInvalidArgument);
  const std::set<std::string> words = Words(isas.status().message());
  for (const Kernels* kernels : AvailableKernels()) {
    EXPECT_TRUE(words.contains(std::string(kernels->isa))) << kernels->isa;
  }
}

}  // namespace
}  // namespace rill::cpu
