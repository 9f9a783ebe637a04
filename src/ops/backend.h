// Backend: where ops run. Memory, packed weights, and one function per op of the standard.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "ops/op_schema.h"
#include "ops/weight.h"
#include "rill/hardware.h"
#include "rill/status.h"
// Argument structs of all ops.
#include "ops/activation.h"
#include "ops/add.h"
#include "ops/clamp.h"
#include "ops/copy.h"
#include "ops/embedding.h"
#include "ops/gated_ffn.h"
#include "ops/gather_rows.h"
#include "ops/glu.h"
#include "ops/kv_append.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/linear_glu.h"
#include "ops/logits.h"
#include "ops/moe_ffn.h"
#include "ops/moe_route.h"
#include "ops/norm_linear.h"
#include "ops/paged_attention.h"
#include "ops/position_embedding.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/rope_angles.h"
#include "ops/rope_kv_append.h"
#include "ops/scale.h"
#include "ops/skip_layer_norm.h"
#include "ops/skip_rms_norm.h"
#include "ops/softcap.h"

namespace rill::ops {

// An order of execution on a backend. Calls on one stream happen in order; a CPU stream runs them
// at once. Not thread-safe: one owner thread.
class Stream {
 public:
  virtual ~Stream() = default;
  // Returns when everything enqueued so far is done. Device failures surface here.
  virtual Status Synchronize() = 0;
};

// One kernel per op; nullptr where the backend has none (loading a model that needs it fails with
// the list of what is missing). Kernels trust their arguments: CheckArgs ran when the program was
// recorded, and a step changes only sizes and addresses.
struct OpTable {
#define OP(file, Name) void (*file)(const Name##Args& args, Stream& stream) = nullptr;
#include "ops/op_list.def"
#undef OP
};

// Calls the op `id` of `table` with its own argument struct.
inline void CallOp(const OpTable& table, OpId id, const void* args, Stream& stream) {
  switch (id) {
#define OP(file, Name) \
  case OpId::k##Name: table.file(*static_cast<const Name##Args*>(args), stream); return;
#include "ops/op_list.def"
#undef OP
  }
}

// Memory of a backend; zero-filled, aligned to 64 bytes at least.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;
  virtual int64_t size_bytes() const = 0;
};

// Which kernel runs an op, for `rill ops` and logs.
struct KernelInfo {
  std::string op;      // "rms_norm"
  std::string kernel;  // "cpu avx2"
};

// See Backend::ForEach and Backend::RunLane.
using HostTask = FunctionRef<void(int64_t item, int thread)>;
using LaneTask = FunctionRef<void(Stream& stream)>;

// Streams of a backend for parts of a step (Backend::RunLane).
struct LaneLimits {
  int count = 1;       // 1: there are none
  int min_tokens = 0;  // from which on a part may be worth its reading of all weights; 0: never
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;  // "cpu", "reference"
  virtual std::string Describe() const = 0;   // "cpu: avx2, 2 threads"
  // What a user of this backend on this machine should know; one sentence each.
  virtual std::vector<std::string> Warnings() const { return {}; }
  // One entry per op that this backend has; empty when it does not say.
  virtual std::vector<KernelInfo> Kernels() const { return {}; }
  virtual const OpTable& ops() const = 0;
  virtual Stream& stream() = 0;  // the compute thread's stream
  virtual Result<std::unique_ptr<Buffer>> Allocate(int64_t size_bytes) = 0;
  // What this backend's hardware can do at most, measured now (about half a second on all its
  // threads: not while a step runs). kUnsupported where nothing is measured.
  virtual Result<Ceilings> MeasureCeilings(const CeilingOptions&) {
    return Unsupported(std::string(name()) + ": no ceilings are measured on this backend");
  }
  // The threads of the host that this backend computes on.
  virtual int num_host_threads() const { return 1; }
  // Calls task(item, thread) once for each item in [0, count) on those threads, in any order, and
  // returns when all are done; 0 <= thread < num_host_threads(), one item at a time on each. For
  // work of the host between steps (sampling), by the thread that owns `stream`. `task` throws
  // nothing.
  virtual void ForEach(int64_t count, HostTask task) {
    for (int64_t item = 0; item < count; ++item) task(item, 0);
  }
  // Lanes: streams besides `stream`, each for one of those threads, that are used side by side.
  virtual LaneLimits lanes() const { return {}; }
  // Calls task(stream) with that lane's stream, then takes work from lanes that still run. From an
  // item of ForEach, one lane an item: each has a thread of its own, so they may wait for another.
  // `task` throws nothing but std::bad_alloc, at its end.
  virtual void RunLane(int index, LaneTask task) {
    (void)index;
    task(stream());
  }
  // Names what packed_data() of this backend's weights holds: another text whenever the same source
  // may give other bytes. Empty: they cannot be kept for a later load.
  virtual std::string PackedLayout() const { return {}; }
  // Whether gated_ffn of these weights keeps the inner rows out of memory. Where it does not,
  // linear_glu and linear are as fast and their inner rows are part of the memory plan.
  virtual bool FusesGatedFfn(const PackedWeight& gate_up, const PackedWeight& down) const {
    (void)gate_up, (void)down;
    return false;
  }
  // Errors: kUnsupported when no kernel reads this combination, naming tensor and dtype;
  // kInvalidArgument on shapes that do not fit together.
  virtual Result<std::unique_ptr<PackedWeight>> PackWeight(const WeightSource& source) = 0;
};

// The slow and obvious kernels of ops/reference: f64 accumulation, no threads. The truth that other
// backends are compared with.
std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace rill::ops
