// How an instruction set is chosen by name.
#include "backends/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <string>

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

// Gives the variable back as it was, also when an assertion ends the test.
class IsaVariableGuard {
 public:
  IsaVariableGuard() {
    if (const char* value = std::getenv("RILL_CPU_ISA")) before_ = value;
  }
  ~IsaVariableGuard() {
    if (before_) {
      ::setenv("RILL_CPU_ISA", before_->c_str(), 1);
    } else {
      ::unsetenv("RILL_CPU_ISA");
    }
  }
  IsaVariableGuard(const IsaVariableGuard&) = delete;
  IsaVariableGuard& operator=(const IsaVariableGuard&) = delete;

 private:
  std::optional<std::string> before_;
};

TEST(CpuIsas, AnEmptyVariable_ChoosesNone) {
  const IsaVariableGuard guard;
  ::setenv("RILL_CPU_ISA", "", 1);
  EXPECT_EQ(ChosenIsa(""), "");
  EXPECT_EQ(ChosenIsa("scalar"), "scalar");
  ASSERT_TRUE(SelectKernels("").ok());
  EXPECT_EQ(*SelectKernels(""), AvailableKernels().front());
  ::setenv("RILL_CPU_ISA", "scalar", 1);
  EXPECT_EQ(ChosenIsa(""), "scalar");
  EXPECT_EQ(ChosenIsa("avx2"), "avx2");
  ::unsetenv("RILL_CPU_ISA");
  EXPECT_EQ(ChosenIsa(""), "");
}

TEST(CpuIsas, UnknownName_IsRefusedWithEachNameThereIs) {
  const auto isas = FindCpuIsas("nonesuch");
  ASSERT_EQ(isas.status().code(), StatusCode::kInvalidArgument);
  const std::set<std::string> words = Words(isas.status().message());
  for (const Kernels* kernels : AvailableKernels()) {
    EXPECT_TRUE(words.contains(std::string(kernels->isa))) << kernels->isa;
  }
}

#if defined(__x86_64__)
// The names by which the CPU's own features go.
TEST(CpuIsas, Aliases_ChooseTheTableTheyName) {
  const auto isas = FindCpuIsas();
  ASSERT_TRUE(isas.ok());
  std::set<std::string> tables, aliases;
  for (const Kernels* kernels : AvailableKernels()) tables.insert(kernels->name);
  for (const auto& [name, meaning] : isas->aliases) aliases.insert(name);
  EXPECT_TRUE(aliases.contains("sse2"));
  EXPECT_EQ(aliases.contains("avx512bw"), tables.contains("avx512"));

  const auto plain = SelectKernels("sse2");
  ASSERT_TRUE(plain.ok());
  EXPECT_STREQ((*plain)->name, "scalar");  // scalar_fma has instructions that SSE2 has not
  const auto wide = SelectKernels("avx512bw");
  if (tables.contains("avx512")) {
    ASSERT_TRUE(wide.ok());
    EXPECT_STREQ((*wide)->name, "avx512");
  } else {
    EXPECT_EQ(wide.status().code(), StatusCode::kUnsupported);
    EXPECT_NE(wide.status().message().find("this CPU has no avx512bw"), std::string::npos);
  }
  const std::set<std::string> words = Words(FindCpuIsas("nonesuch").status().message());
  for (const std::string& name : aliases) EXPECT_TRUE(words.contains(name)) << name;
}
#endif

}  // namespace
}  // namespace rill::cpu
