// Every case on every instruction set of this CPU gives the bits that tests/golden/conformance.txt
// has hashes of: so one kind of machine agrees with another that never meets it.
//
// RILL_WRITE_GOLDEN=1 writes the file anew, for a change of the arithmetic that is meant, or new
// cases. RILL_CPU_ISA=NAME runs that instruction set alone, and RILL_CASE_STEP=N every Nth case of
// an op alone, for slow machines (an emulator).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels.h"
#include "base/testing.h"
#include "conformance/case.h"

namespace rill::conformance {
namespace {

std::string GoldenPath() {
  return testing::SourceDir() + "/tests/golden/conformance.txt";
}

bool Writing() {
  return std::getenv("RILL_WRITE_GOLDEN") != nullptr;
}

size_t CaseStep() {
  const char* text = std::getenv("RILL_CASE_STEP");
  return text ? std::max<size_t>(1, std::strtoul(text, nullptr, 10)) : 1;
}

std::vector<std::string> Isas() {
  const char* only = std::getenv("RILL_CPU_ISA");
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::AvailableKernels()) {
    if (only == nullptr || std::string(only) == kernels->isa) names.emplace_back(kernels->name);
  }
  return names;
}

// "hash name" a line.
std::map<std::string, std::string> ReadGolden() {
  std::map<std::string, std::string> golden;
  std::ifstream file(GoldenPath());
  for (std::string line; std::getline(file, line);) {
    if (line.size() > 17 && line[0] != '#') golden[line.substr(17)] = line.substr(0, 16);
  }
  return golden;
}

// FNV-1a of all elements; any NaN counts as the same one.
std::string HashOf(const std::vector<Output>& outputs) {
  uint64_t hash = 14695981039346656037u;
  for (const Output& out : outputs) {
    for (float value : out.values) {
      const uint32_t bits = std::isnan(value) ? 0x7FC00000u : std::bit_cast<uint32_t>(value);
      for (int shift = 0; shift < 32; shift += 8) {
        hash = (hash ^ ((bits >> shift) & 255u)) * 1099511628211u;
      }
    }
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// Hash of a case on `backend`; "" when it has no kernel for it.
std::string HashOn(const Case& c, ops::Backend& backend) {
  auto instance = Instance::Make(c, backend);
  if (!instance.ok()) {
    EXPECT_EQ(instance.status().code(), StatusCode::kUnsupported) << instance.status().ToString();
    return "";
  }
  if (!(*instance)->HasKernel()) return "";
  const Status ran = (*instance)->Run(0, std::max<int64_t>(c.NumTokens(), 0));
  EXPECT_TRUE(ran.ok()) << ran.ToString();
  return HashOf((*instance)->Outputs());
}

std::unique_ptr<ops::Backend> MakeCpu(const std::string& isa) {
  auto backend = cpu::MakeCpuBackend({.num_threads = 1, .cpu_isa = isa});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  return std::move(backend).value();
}

class GoldenBits : public ::testing::TestWithParam<int> {};

TEST(GoldenBitsOf, TheseKernels) {
  for (const cpu::Kernels* kernels : cpu::AvailableKernels()) {
    std::printf("instruction set: %s\n", kernels->name);
  }
  EXPECT_FALSE(Isas().empty()) << "$RILL_CPU_ISA is none of them";
}

TEST_P(GoldenBits, AreGivenByEveryInstructionSet) {
  if (Writing()) GTEST_SKIP() << "RILL_WRITE_GOLDEN";
  static const auto* golden = new auto(ReadGolden());
  static const auto* cases = new auto(AllCases());
  const auto op = static_cast<ops::OpId>(GetParam());
  for (const std::string& isa : Isas()) {
    const auto backend = MakeCpu(isa);
    size_t index = 0;
    for (const Case& c : *cases) {
      if (c.op != op || index++ % CaseStep() != 0) continue;
      SCOPED_TRACE(isa + ": " + c.FullName());
      const std::string got = HashOn(c, *backend);
      if (got.empty()) continue;
      const auto expected = golden->find(c.FullName());
      ASSERT_NE(expected, golden->end()) << "a new case: RILL_WRITE_GOLDEN=1 adds it to the file";
      ASSERT_EQ(got, expected->second)
          << "other bits than before (or than on other machines). If the change of the arithmetic "
             "is meant, RILL_WRITE_GOLDEN=1 writes tests/golden/conformance.txt anew";
    }
  }
}

std::string OpName(const ::testing::TestParamInfo<int>& info) {
  return std::string(ops::SchemaOf(static_cast<ops::OpId>(info.param)).name);
}
INSTANTIATE_TEST_SUITE_P(Ops, GoldenBits, ::testing::Range(0, ops::kNumOps), OpName);

TEST(GoldenFile, HasTheCasesThereAre) {
  const auto backend = MakeCpu("scalar");
  if (Writing()) {
    std::ofstream file(GoldenPath());
    file
        << "# Bits of every conformance case, FNV-1a 64 (tests/conformance/golden_bits_test.cc).\n";
    for (const Case& c : AllCases()) {
      const std::string hash = HashOn(c, *backend);
      if (!hash.empty()) file << hash << " " << c.FullName() << "\n";
    }
    ASSERT_TRUE(file.good()) << GoldenPath();
    return;
  }
  std::map<std::string, std::string> golden = ReadGolden();
  const size_t lines = golden.size();
  for (const Case& c : AllCases()) golden.erase(c.FullName());
  for (const auto& [name, hash] : golden) ADD_FAILURE() << "no such case: " << name;
  EXPECT_GT(lines, 0u);
}

}  // namespace
}  // namespace rill::conformance
