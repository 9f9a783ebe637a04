// Context: what the op functions of the CPU backend share: kernels, threads, scratch memory.
//
// Owner thread: the thread that runs steps. Ops receive it as their Stream. Work is split over
// outputs (panels, heads, rows), never over a reduction, so the number of threads changes no bit.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "backends/cpu/kernels.h"
#include "backends/cpu/packed_weight.h"
#include "base/thread_pool.h"
#include "ops/backend.h"

namespace rill::cpu {

// Memory that grows to the largest request and stays: after the first large step nothing allocates.
class Scratch {
 public:
  // 64-byte aligned; contents unspecified. Throws std::bad_alloc, which Guarded catches.
  uint8_t* Get(int64_t size_bytes);
  template <typename T>
  T* Array(int64_t count) {
    return reinterpret_cast<T*>(Get(count * int64_t{sizeof(T)}));
  }

 private:
  AlignedBytes memory_;
};

class Context : public ops::Stream {
 public:
  // num_helpers: threads besides that may call Help.
  Context(const Kernels* kernels, int num_threads, int num_helpers = 0);
  // kUnavailable when memory ran out since the last call: what the ops were to write is unknown.
  Status Synchronize() override;
  // Runs an op function; once memory has run out no further one until Synchronize.
  template <typename Args>
  void Guarded(void (*op)(const Args&, ops::Stream&), const Args& args) {
    if (no_memory_) return;
    try {
      op(args, *this);
    } catch (const std::bad_alloc&) {
      no_memory_ = true;
    }
  }

  // Cuts [0, count) into pieces of `grain` (the last one may be smaller) and calls
  // fn(worker, begin, end) once for each. Every worker has an equal contiguous share and takes its
  // pieces in order; one that is done goes on with what is left of the others' shares, so that a
  // worker that lost its CPU to another process does not hold up the rest.
  template <typename Fn>
  void ForPieces(int64_t count, int64_t grain, Fn&& fn);

  // A lane's owner thread works alone, and others take pieces of what it works at when they have
  // nothing else to do. Thread `helper` of num_helpers takes all pieces it can get; false: none.
  bool Help(int helper);
  bool has_helpers() const { return num_helpers_ > 0; }
  std::atomic<bool> is_running{false};  // of a lane, kept by its backend

  // Panels of `s` to f32; null: they are.
  DecodeFn Decoder(const CpuWeight::Segment& s) const {
    if (s.exec != ExecId::kNone) return k.exec[static_cast<int>(s.exec)].decode;
    return s.dtype == DType::kF16    ? k.decode_f16
           : s.dtype == DType::kBF16 ? k.decode_bf16
                                     : nullptr;
  }
  // Panels of `s` times tiles of few tokens, decoded in registers; run == nullptr: they are f32.
  FewKernel Few(const CpuWeight::Segment& s) const {
    if (s.exec != ExecId::kNone) return k.exec[static_cast<int>(s.exec)].few;
    return s.dtype == DType::kF16 ? k.few_f16 : s.dtype == DType::kBF16 ? k.few_bf16 : FewKernel{};
  }

  const Kernels& k;
  ThreadPool pool;
  // Of the owner thread: activations of one op (one for each way they enter its weight),
  // intermediate rows, row pointers.
  std::vector<Scratch> activations;
  Scratch rows, more_rows, pointers, reordered, normed, inner, best;
  std::vector<Scratch> worker;  // one for each thread of the pool, then for each helper

 private:
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  // What ForPieces calls, while helpers may.
  struct Job {
    void (*call)(const void* fn, int worker, int64_t piece);
    const void* fn;
  };
  // No job any more, and no helper at it.
  void EndJob();

  std::vector<Share> shares_;  // of ForPieces, one for each worker
  const int num_helpers_;
  alignas(64) std::atomic<const Job*> job_{nullptr};
  std::atomic<int> num_inside_{0};  // helpers that may be at it
  std::atomic<bool> helper_no_memory_{false};
  bool no_memory_ = false;
};

template <typename Fn>
void Context::ForPieces(int64_t count, int64_t grain, Fn&& fn) {
  if (count <= 0) return;
  const int64_t pieces = (count + grain - 1) / grain;
  const int workers = pool.num_workers();
  const auto call = [&](int worker, int64_t piece) {
    const int64_t begin = piece * grain;
    fn(worker, begin, begin + grain < count ? begin + grain : count);
  };
  if (pieces > 1 && has_helpers()) {
    const Job job{[](const void* fn, int worker, int64_t piece) {
                    (*static_cast<const decltype(call)*>(fn))(worker, piece);
                  },
                  &call};
    Share& share = shares_[0];
    share.next.store(0, std::memory_order_relaxed);
    share.end = pieces;
    job_.store(&job, std::memory_order_seq_cst);
    try {
      int64_t piece;
      while ((piece = share.next.fetch_add(1, std::memory_order_relaxed)) < pieces) call(0, piece);
    } catch (const std::bad_alloc&) {
      EndJob();
      helper_no_memory_.store(false, std::memory_order_relaxed);
      throw;
    }
    EndJob();
    if (helper_no_memory_.exchange(false, std::memory_order_relaxed)) throw std::bad_alloc();
    return;
  }
  if (pieces == 1 || workers == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) call(0, piece);
    return;
  }
  for (int i = 0; i < workers; ++i) {
    Share& share = shares_[static_cast<size_t>(i)];
    share.next.store(pieces * i / workers, std::memory_order_relaxed);
    share.end = pieces * (i + 1) / workers;
  }
  pool.Run([&](int worker, int) {
    for (int i = 0; i < workers; ++i) {
      Share& share = shares_[static_cast<size_t>((worker + i) % workers)];
      while (share.next.load(std::memory_order_relaxed) < share.end) {
        const int64_t piece = share.next.fetch_add(1, std::memory_order_relaxed);
        if (piece < share.end) call(worker, piece);
      }
    }
  });
}

inline Context& ContextOf(ops::Stream& stream) {
  return static_cast<Context&>(stream);
}

// Rows that are worth waking another thread for: below this, elementwise ops run on the caller.
inline constexpr int64_t kParallelElements = 16384;

// fn(begin, end) over rows [0, num_rows) of `row_size` elements each.
template <typename Fn>
void ForRows(Context& c, int64_t num_rows, int64_t row_size, Fn&& fn) {
  if (num_rows * row_size < kParallelElements) {
    if (num_rows > 0) fn(int64_t{0}, num_rows);
    return;
  }
  const int64_t pieces = 4 * c.pool.num_workers();
  c.ForPieces(num_rows, (num_rows + pieces - 1) / pieces,
              [&](int, int64_t begin, int64_t end) { fn(begin, end); });
}

// One function per op (ops/op_list.def), named <Name>Op.
#define OP(file, Name) void Name##Op(const ops::Name##Args& args, ops::Stream& stream);
#include "ops/op_list.def"
#undef OP

// A norm of whole rows on their way into a product.
struct RowNorm {
  ops::InputNorm kind = ops::InputNorm::kNone;
  const float* weight = nullptr;  // [n]; null: ones
  const float* bias = nullptr;    // [n]; null: zeros
  float eps = 0, weight_bias = 0;

  // kind != kNone
  void Apply(const Kernels& k, const float* x, float* y, int64_t n) const;
};

// Of one row of logits so far: the first of the largest, and the first that is not finite.
struct RowBest {
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  float best = -std::numeric_limits<float>::infinity();
  float bad = 0;
  int32_t best_id = kNone, bad_id = kNone;

  // In any order: what is kept does not depend on it.
  void Take(float value, int32_t id);
  void Take(const RowBest& other);
};

// The matrix product behind linear, linear_glu, gated_ffn and moe_ffn: x[t] are num_tokens rows of
// w.cols() elements, y is [num_tokens, …] with y_stride.
struct Epilogue {
  const float* bias = nullptr;
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  float scale = 1.0f;
  bool y_leaves = false;  // nothing reads y before the step is over
  // ops::LogitsArgs: rows of which only the largest logit is asked, and what each worker has found
  // so far, [worker][num_tokens]. Null: every row of y is written.
  const int32_t* wanted = nullptr;
  RowBest* best = nullptr;
};
// From so many bytes on, y that leaves goes past the caches: more than one core keeps.
constexpr int64_t kLeastPastBytes = 4 << 20;
void MatMul(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
            int64_t num_tokens, const Epilogue& epilogue, float* y, int64_t y_stride,
            const RowNorm& norm = {});
// w is paired; bias (gate then up) may be null.
void MatMulGlu(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
               int64_t num_tokens, const float* bias, ops::ActivationKind kind, float* y,
               int64_t y_stride, const RowNorm& norm = {});

// Whether GatedFfn quantises the inner rows where they are made: both weights take activations in
// one form, and a few panels hold whole groups of `down`.
bool FusesInnerRows(const CpuWeight& gate_up, const CpuWeight& down);
// y = epilogue(down f(gate x) * (up x)). y may be x: it is written when x has been read.
void GatedFfn(Context& c, const CpuWeight& gate_up, const CpuWeight& down, int64_t expert,
              const float* const* x, int64_t num_tokens, const RowNorm& norm,
              const float* gate_up_bias, ops::ActivationKind kind, const Epilogue& epilogue,
              float* y, int64_t y_stride);

inline const CpuWeight& AsCpu(const ops::PackedWeight* weight) {
  return static_cast<const CpuWeight&>(*weight);
}

}  // namespace rill::cpu
