// Runs every case on every backend and instruction set: against the reference within the case's
// bound; against the first instruction set bit for bit; with 1 to 4 threads and token by token bit
// for bit. Kernels that a backend lacks are listed, not failed.
#include <gtest/gtest.h>

#include <iostream>
#include <set>

#include "backends/registry.h"
#include "conformance/compare.h"

namespace rill::conformance {
namespace {

const char* const kIsas[] = {"scalar", "avx2",         "avx_vnni", "avx512",       "avx512_vnni",
                             "amx",    "amx_emulated", "neon",     "neon_dotprod", "i8mm"};

struct Variant {
  std::string name;
  std::unique_ptr<ops::Backend> backend;
};

// Backends beside the reference: each CPU instruction set with one thread, then more threads.
std::vector<Variant>& Variants() {
  static std::vector<Variant>* variants = [] {
    auto* made = new std::vector<Variant>;
    for (const std::string& name : backends::BackendNames()) {
      if (name == "reference") continue;
      std::set<std::string> seen;
      for (const char* isa : kIsas) {
        auto backend = backends::MakeBackend(name, {1, isa});
        if (!backend.ok()) {
          std::cout << "not here: " << name << " " << isa << "\n";
          continue;
        }
        made->push_back({name + " " + isa, std::move(backend).value()});
      }
      for (int threads : {2, 3, 4}) {
        auto backend = backends::MakeBackend(name, {threads, ""});
        if (backend.ok()) {
          made->push_back(
              {name + " " + std::to_string(threads) + " threads", std::move(backend).value()});
        }
      }
    }
    if (made->empty()) std::cout << "no backend but the reference in this build\n";
    return made;
  }();
  return *variants;
}

// Output of a case, whole or token by token; an error text instead when it could not run.
Result<std::vector<Output>> RunCase(const Case& c, ops::Backend& backend, bool token_by_token) {
  auto instance = Instance::Make(c, backend);
  if (!instance.ok()) return instance.status();
  const int64_t tokens = std::max<int64_t>(c.NumTokens(), 0);
  if (token_by_token) {
    for (int64_t t = 0; t < tokens; ++t) RILL_RETURN_IF_ERROR((*instance)->Run(t, t + 1));
  } else {
    RILL_RETURN_IF_ERROR((*instance)->Run(0, tokens));
  }
  if (!(*instance)->PaddingIsIntact()) return Internal("wrote outside its output");
  return (*instance)->Outputs();
}

std::vector<Case> CasesOf(ops::OpId op) {
  std::vector<Case> cases;
  for (Case& c : AllCases()) {
    if (c.op == op) cases.push_back(std::move(c));
  }
  return cases;
}

class Conformance : public ::testing::TestWithParam<int> {
 protected:
  ops::OpId op() const { return static_cast<ops::OpId>(GetParam()); }
};

TEST_P(Conformance, AgreesWithReferenceAndItself) {
  const auto reference = ops::MakeReferenceBackend();
  std::set<std::string> missing;
  for (const Case& c : CasesOf(op())) {
    SCOPED_TRACE(c.FullName());
    auto truth = Instance::Make(c, *reference);
    ASSERT_TRUE(truth.ok()) << truth.status().ToString();
    const Status ran = (*truth)->Run(0, std::max<int64_t>(c.NumTokens(), 0));
    ASSERT_TRUE(ran.ok()) << ran.ToString();
    EXPECT_TRUE((*truth)->PaddingIsIntact());
    const std::vector<Output> expected = (*truth)->Outputs();
    if (c.rows_alone) {
      auto alone = RunCase(c, *reference, true);
      ASSERT_TRUE(alone.ok()) << alone.status().ToString();
      EXPECT_EQ(CompareBits(expected, *alone), "") << "reference, token by token";
    }
    const Bounds bounds = BoundsOf(c, **truth, expected);
    std::vector<Output> first;
    for (Variant& variant : Variants()) {
      auto instance = Instance::Make(c, *variant.backend);
      if (!instance.ok() && instance.status().code() == StatusCode::kUnsupported) {
        missing.insert(variant.name + ": " + instance.status().message());
        continue;
      }
      ASSERT_TRUE(instance.ok()) << instance.status().ToString();
      if (!(*instance)->HasKernel()) {
        missing.insert(variant.name + ": no kernel");
        continue;
      }
      auto got = RunCase(c, *variant.backend, false);
      ASSERT_TRUE(got.ok()) << variant.name << ": " << got.status().ToString();
      EXPECT_EQ(CompareWithin(expected, *got, bounds), "") << variant.name;
      if (first.empty()) first = *got;
      EXPECT_EQ(CompareBits(first, *got), "") << Variants()[0].name << " against " << variant.name;
      if (!c.rows_alone) continue;
      auto alone = RunCase(c, *variant.backend, true);
      ASSERT_TRUE(alone.ok()) << variant.name << ": " << alone.status().ToString();
      EXPECT_EQ(CompareBits(first, *alone), "") << variant.name << ", token by token";
    }
    if (HasFailure()) break;  // one case shows it
  }
  for (const std::string& line : missing) std::cout << "missing: " << line << "\n";
}

std::string OpName(const ::testing::TestParamInfo<int>& info) {
  return std::string(ops::SchemaOf(static_cast<ops::OpId>(info.param)).name);
}
INSTANTIATE_TEST_SUITE_P(Ops, Conformance, ::testing::Range(0, ops::kNumOps), OpName);

TEST(ConformanceTable, EveryOpHasCases) {
  for (int i = 0; i < ops::kNumOps; ++i) {
    const auto op = static_cast<ops::OpId>(i);
    EXPECT_GE(CasesOf(op).size(), 3u) << ops::SchemaOf(op).name;
  }
}

}  // namespace
}  // namespace rill::conformance
