#include "backends/cpu/ceilings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels.h"

namespace rill::cpu {
namespace {

// Not how fast, only that every loop does its work and none is optimised away: twice the rounds
// take longer than none, and the sink changes.
TEST(Ceilings, EveryIsaOfThisCpu_HasLoopsThatRun) {
  for (const Kernels* kernels : AvailableKernels()) {
    const CeilingLoops loops = CeilingLoopsOf(kernels->name);
    ASSERT_NE(loops.int8_dot.run, nullptr) << kernels->name;
    ASSERT_NE(loops.f32_fma.run, nullptr) << kernels->name;
    ASSERT_NE(loops.read, nullptr) << kernels->name;
    EXPECT_GT(loops.int8_dot.macs_per_round, 0);
    EXPECT_GT(loops.f32_fma.macs_per_round, 0);
    int32_t sink = 1;
    loops.int8_dot.run(1000, &sink);
    EXPECT_NE(sink, 1) << kernels->name;
    loops.f32_fma.run(1000, &sink);
  }
}

TEST(Ceilings, Read_SeesEveryByte) {
  for (const Kernels* kernels : AvailableKernels()) {
    const CeilingLoops loops = CeilingLoopsOf(kernels->name);
    std::vector<uint64_t> data(3 * kReadGrain / 8 + 1024);  // prefetch runs ahead
    const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
    const uint64_t none = loops.read(bytes, 3 * kReadGrain);
    int seen = 0;
    for (size_t i = 0; i < 3 * kReadGrain / 8; i += 7) {
      data[i] = ~uint64_t{0};
      seen += loops.read(bytes, 3 * kReadGrain) != none;
      data[i] = 0;
    }
    EXPECT_EQ(seen, static_cast<int>((3 * kReadGrain / 8 + 6) / 7)) << kernels->name;
  }
}

TEST(Ceilings, ReadBuffer_IsAQuarterOfWhatIsLeftBetweenItsLeastAndItsMost) {
  const CeilingOptions options;
  const int64_t gib = int64_t{1} << 30;
  EXPECT_EQ(ReadBufferBytes(options, 100 * gib), gib);
  EXPECT_EQ(ReadBufferBytes(options, gib), gib / 4);  // a container of 1 GiB
  EXPECT_EQ(ReadBufferBytes(options, gib + 5000), gib / 4);
  EXPECT_EQ(ReadBufferBytes(options, 0), int64_t{64} << 20);
  CeilingOptions small;
  small.buffer_bytes = 5 << 20;
  small.least_buffer_bytes = 0;
  EXPECT_EQ(ReadBufferBytes(small, gib), 5 << 20);
  EXPECT_EQ(ReadBufferBytes(small, 0), 1 << 20);
}

TEST(Ceilings, SmallSets_AreReadFromACache) {
  ThreadPool pool(1);
  CeilingOptions options;
  options.buffer_bytes = 1 << 20;
  options.seconds = 0.002;
  options.working_sets = {0, 1, 3072, 5000, std::nan("")};
  const auto ceilings = MeasureCeilings(AvailableKernels().front()->name, pool, options);
  ASSERT_TRUE(ceilings.ok()) << ceilings.status().ToString();
  ASSERT_EQ(ceilings->reads.size(), 4u);  // nothing has no rate
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ceilings->reads[i].size_bytes, options.working_sets[i + 1]);
    EXPECT_GT(ceilings->reads[i].gbs, 0) << i;
  }
}

TEST(Ceilings, Measured_ArePositiveAndInOrder) {
  ThreadPool pool(2);
  CeilingOptions options;
  options.buffer_bytes = 1 << 20;  // raised to the least
  options.seconds = 0.002;
  options.working_sets = {4e6, 1e6, 1e15};
  const auto ceilings = MeasureCeilings(AvailableKernels().front()->name, pool, options);
  ASSERT_TRUE(ceilings.ok()) << ceilings.status().ToString();
  EXPECT_GT(ceilings->dram_read_gbs, 0);
  EXPECT_GT(ceilings->int8_dot_gmacs, 0);
  EXPECT_GT(ceilings->f32_fma_gflops, 0);
  EXPECT_GT(ceilings->barrier_ns, 0);
  EXPECT_EQ(ceilings->threads, 2);
  ASSERT_EQ(ceilings->reads.size(), 3u);  // the set beyond the buffer is left out
  EXPECT_EQ(ceilings->reads[0].size_bytes, 1e6);
  EXPECT_EQ(ceilings->reads[1].size_bytes, 4e6);
  EXPECT_EQ(ceilings->reads[2].gbs, ceilings->dram_read_gbs);
}

TEST(CpuBackend, PlainCode_IsToldUnlessAskedFor) {
  EXPECT_NE(PlainCodeWarning("scalar", false), "");
  EXPECT_EQ(PlainCodeWarning("scalar", true), "");
  EXPECT_EQ(PlainCodeWarning("avx2", false), "");
}

}  // namespace
}  // namespace rill::cpu
