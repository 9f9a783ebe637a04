// Benchmark: times forward steps of a loaded model and says how near they come to the hardware's
// limit (rill/hardware.h). Steps are those of serving: packed sequences over paged keys and values,
// greedy choice included; queueing, HTTP and text are not.
//
// Threads: one at a time, the one that owns the Llm; nothing else may run on it meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rill/hardware.h"
#include "rill/llm.h"
#include "rill/status.h"

namespace rill {

// One shape of work.
//   prefill: num_seqs prompts of num_tokens / num_seqs tokens each from an empty context, in steps
//     of at most the load's max_step_tokens
//   decode:  one step of num_seqs sequences, one token each, `context` positions before it
//   mixed:   one step of num_seqs - 1 such decodes and a prefill chunk of the other tokens
struct BenchCase {
  std::string phase;  // "prefill", "decode", "mixed"
  int32_t num_seqs = 1;
  int32_t num_tokens = 1;  // of the whole prefill, or of the step
  int32_t context = 0;     // positions of each decode before this step; 0 for a prefill
};

struct BenchRun {
  BenchCase shape;
  int32_t repetitions = 0;
  double seconds = 0;  // median of a repetition
  double min_seconds = 0, max_seconds = 0;
  double tokens_per_s = 0;  // num_tokens / seconds
  StepCost cost;            // of a repetition
  // Which ceiling binds: "dram_read", "cache_read", "int8_dot", "f32_fma"; "none" where the backend
  // measures none.
  std::string limit;
  double pct_of_limit = 0;  // above 100 means that a ceiling was measured on a busier machine
};

// One op, or one place of the network, over a whole repetition.
struct ProfileRow {
  std::string name;  // "linear", or "layers.*.attn.qkv"
  std::string op;    // of a place
  int64_t calls = 0;
  double seconds = 0;
  double share = 0;  // of the repetition's time, 0 to 1
  StepCost cost;
  std::string limit;  // of this row alone; "" when it has neither bytes nor products to count
  double pct_of_limit = 0;
};

// The repetition of median time among several: its rows add up to its time.
struct Profile {
  // Of the repetitions' times (sums over the ops) and shares, least and most.
  struct Span {
    double min = 0, max = 0;
  };
  BenchCase shape;
  int32_t repetitions = 0;
  double seconds = 0;  // sum over the ops
  Span seconds_span;
  double matmul_share = 0, attention_share = 0;
  Span matmul_share_span, attention_share_span;
  std::vector<ProfileRow> by_op, by_place;  // most time first
};

struct BenchmarkOptions {
  int64_t kv_bytes = int64_t{2} << 30;  // most memory for keys and values
  int32_t min_repetitions = 3;
  double min_seconds = 0.3;  // of a case, after one repetition to warm up
  // A first repetition that takes longer than this is the case's only one, cold as it is; infinity:
  // none is too long to be repeated.
  double long_seconds = 2.0;
  const std::atomic<bool>* cancel = nullptr;
};

class Benchmark {
 public:
  // Measures the ceilings and makes room for the largest of `cases` that fits. `llm` must outlive
  // this. Errors: kUnsupported for an encoder, kFailedPrecondition without weights.
  static Result<std::unique_ptr<Benchmark>> Create(Llm& llm, const std::vector<BenchCase>& cases,
                                                   const BenchmarkOptions& options);
  ~Benchmark();

  const Ceilings& ceilings() const;  // rates of 0 where the backend measures none
  // Why a case cannot run here: beyond the context, the step or options.kv_bytes; "" when it can.
  std::string WhyNot(const BenchCase& shape) const;
  // Errors: kInvalidArgument with WhyNot's reason; kCancelled.
  Result<BenchRun> Run(const BenchCase& shape);
  // As many repetitions as Run makes, at most 1000 or min_repetitions, with a clock around every
  // op. Errors: as Run.
  Result<Profile> ProfileOps(const BenchCase& shape);

 private:
  Benchmark();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Models of random weights: Llm::Open("synthetic:SHAPE:FORMAT", …) makes one in memory, for speed
// without a download. SHAPE is one of these ("llama-1.1b", …); FORMAT a block format, f16, bf16,
// f32, q4_k_m or q5_k_m.
std::vector<std::string> SyntheticShapes();
// The same model, bit for bit, as the bytes of a GGUF file for other programs, given to `write` at
// once. `spec` as above. Errors: kInvalidArgument naming the shapes there are, kUnsupported naming
// the formats; kResourceExhausted for memory; those of `write`.
Status WriteSyntheticModel(std::string_view spec,
                           const std::function<Status(std::string_view bytes)>& write);

// One kernel alone, over and over: for a profiler, or to compare formats.
struct KernelBenchOptions {
  std::string name;          // see KernelBenchNames; a format may follow: "linear:q4_0"
  int32_t tokens = 1;        // rows of x, or queries
  int32_t rows = 2048;       // output features
  int32_t cols = 2048;       // input features, or size of a row
  int32_t context = 1024;    // attention: positions
  int32_t num_matrices = 0;  // distinct weights in turn; 0: enough to not stay in a cache (256 MiB)
  double seconds = 1.0;
  std::string activations = "q8";
  std::string kv_dtype = "f16";
  std::string backend = "cpu";
  int num_threads = 0;
  std::string cpu_isa;
};

struct KernelBenchRun {
  std::string kernel;  // "linear q4_0 [2048, 2048] x 1: panel16 q4_0 x q8, cpu: avx2, 2 threads"
  int64_t calls = 0;
  double seconds_per_call = 0;  // median
  StepCost cost;                // of a call; elementwise operators have no multiply-adds to count
  // Bytes of a call that the limit counts: weights, keys and values; with rows in and out where
  // the operator multiplies by no weight, so that moving rows is all it does.
  double limit_bytes = 0;
  std::string limit;
  double pct_of_limit = 0;
  Ceilings ceilings;
};
// Every operator of the standard, with each format where it has a weight.
std::vector<std::string> KernelBenchNames();
// Errors: kInvalidArgument for an unknown operator or format, with the known ones, and for sizes
// and modes out of range; kUnsupported where the backend has no kernel; kResourceExhausted.
Result<KernelBenchRun> RunKernelBench(const KernelBenchOptions& options);

}  // namespace rill
