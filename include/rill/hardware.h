// What a machine can do at most, what a step costs at least, and so how far from the limit a
// measured time is.
//
// A step cannot be faster than reading its bytes takes, nor than computing its products takes; the
// two overlap, so the larger one is the limit:
//   seconds_at_limit = max(bytes / read rate, int8_macs / int8 rate + f32_macs / (f32 rate / 2))
//   % of limit       = 100 * seconds_at_limit / seconds measured
// Plain data, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rill {

// Counts of one op, one step, or any sum of them.
struct StepCost {
  double weight_bytes = 0;      // packed weights, each read once
  double kv_bytes = 0;          // keys and values read and written
  double activation_bytes = 0;  // inputs and outputs of each op; mostly cache traffic
  double int8_macs = 0;         // multiply-adds of integer dot products
  double f32_macs = 0;          // multiply-adds of f32 fma

  // What must come from memory: activations stay in the caches.
  double memory_bytes() const { return weight_bytes + kv_bytes; }
  StepCost& operator+=(const StepCost& o) {
    weight_bytes += o.weight_bytes;
    kv_bytes += o.kv_bytes;
    activation_bytes += o.activation_bytes;
    int8_macs += o.int8_macs;
    f32_macs += o.f32_macs;
    return *this;
  }
  friend StepCost operator-(StepCost a, const StepCost& b) {
    a.weight_bytes -= b.weight_bytes;
    a.kv_bytes -= b.kv_bytes;
    a.activation_bytes -= b.activation_bytes;
    a.int8_macs -= b.int8_macs;
    a.f32_macs -= b.f32_macs;
    return a;
  }
};

// Measured on this machine, all threads of the backend together.
struct Ceilings {
  std::string isa;  // of the kernels: "avx512_vnni"
  int32_t threads = 0;
  double dram_read_gbs = 0;   // 10^9 bytes/s, from a buffer larger than the caches
  double int8_dot_gmacs = 0;  // 10^9 multiply-adds/s of the ISA's integer dot product
  double f32_fma_gflops = 0;  // 10^9 floating-point operations/s, two for each fma
  double barrier_ns = 0;      // an empty task on all threads

  // The read rate when the same `size_bytes` are read again and again: a model that fits a cache
  // is not bound by DRAM. Ascending sizes; the last one is the DRAM buffer.
  struct ReadRate {
    double size_bytes = 0, gbs = 0;
  };
  std::vector<ReadRate> reads;
};

struct CeilingOptions {
  // Also measure the read rate of working sets of these sizes (bytes; those beyond the DRAM buffer
  // are skipped).
  std::vector<double> working_sets;
  // For DRAM; at most a quarter of what the machine and the control groups leave this process,
  int64_t buffer_bytes = int64_t{1} << 30;
  int64_t least_buffer_bytes = int64_t{64} << 20;  // but never less than this
  double seconds = 0.05;                           // per rate, at least
};

struct HardwareLimit {
  // "dram_read", "cache_read", "int8_dot", "f32_fma"; "none" where no ceiling is known
  std::string_view name;
  double seconds = 0;  // at the limit
};
// Which ceiling binds `num_steps` steps of this cost together, and what they take at least. Costs
// without bytes and products give 0 seconds.
//
// A server's share of the limit between two readings a and b of EngineStats:
//   100 * LimitOf(b.step_cost - a.step_cost, ceilings, b.steps - a.steps).seconds
//       / ((b.step_ms - a.step_ms) / 1000)
HardwareLimit LimitOf(const StepCost& cost, const Ceilings& ceilings, double num_steps = 1);

}  // namespace rill
