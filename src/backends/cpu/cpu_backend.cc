#include "backends/cpu/cpu_backend.h"

#include <cstring>
#include <system_error>

#include "backends/cpu/ceilings.h"
#include "backends/cpu/context.h"
#include "base/check.h"
#include "base/pause.h"

namespace rill::cpu {

Context::Context(const Kernels* kernels, int num_threads, int num_helpers)
    : k(*kernels), pool(num_threads), num_helpers_(num_helpers) {
  worker.resize(static_cast<size_t>(pool.num_workers() + num_helpers));
  shares_ = std::vector<Share>(static_cast<size_t>(pool.num_workers()));
}

uint8_t* Scratch::Get(int64_t size_bytes) {
  if (size_bytes > memory_.size_bytes()) {
    memory_ = AlignedBytes();  // before the new one: never both
    memory_ = AlignedBytes(size_bytes + size_bytes / 4 + 4096);
    if (memory_.data() == nullptr) throw std::bad_alloc();
  }
  return memory_.data();
}

Status Context::Synchronize() {
  return std::exchange(no_memory_, false) ? Unavailable("cpu: no memory for a step's scratch")
                                          : OkStatus();
}

bool Context::Help(int helper) {
  if (job_.load(std::memory_order_relaxed) == nullptr) return false;
  // Sequentially consistent, as in EndJob: either the owner sees this helper, or the helper that
  // there is no job.
  num_inside_.fetch_add(1, std::memory_order_seq_cst);
  bool did = false;
  if (const Job* job = job_.load(std::memory_order_seq_cst)) {
    Share& share = shares_[0];
    int64_t piece;
    while ((piece = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end) {
      did = true;
      try {
        job->call(job->fn, pool.num_workers() + helper, piece);
      } catch (const std::bad_alloc&) {
        helper_no_memory_.store(true, std::memory_order_relaxed);
      }
    }
  }
  num_inside_.fetch_sub(1, std::memory_order_release);
  return did;
}

void Context::EndJob() {
  job_.store(nullptr, std::memory_order_seq_cst);
  for (int spins = 0; num_inside_.load(std::memory_order_seq_cst) != 0;) Pause(spins++);
}

namespace {

template <auto op>
struct GuardedOp;
template <typename Args, void (*op)(const Args&, ops::Stream&)>
struct GuardedOp<op> {
  static void Run(const Args& args, ops::Stream& stream) {
    static_cast<Context&>(stream).Guarded(op, args);
  }
};

class CpuBuffer : public ops::Buffer {
 public:
  explicit CpuBuffer(AlignedBytes memory) : memory_(std::move(memory)) {}
  std::byte* data() override { return reinterpret_cast<std::byte*>(memory_.data()); }
  int64_t size_bytes() const override { return memory_.size_bytes(); }

 private:
  AlignedBytes memory_;
};

ops::LaneLimits LanesOf(const Kernels& kernels, int num_threads) {
  if (kernels.lane_tokens == 0 || num_threads < 2) return {};
  return {num_threads, kernels.lane_tokens};
}

class CpuBackend : public ops::Backend {
 public:
  CpuBackend(const cpu::Kernels* kernels, int num_threads, bool isa_was_chosen)
      : context_(kernels, num_threads), isa_was_chosen_(isa_was_chosen) {
    const int lanes = LanesOf(*kernels, context_.pool.num_workers()).count;
    for (int i = 0; lanes > 1 && i < lanes; ++i) {
      lanes_.push_back(std::make_unique<Context>(kernels, 1, lanes));
    }
#define OP(file, Name) table_.file = GuardedOp<Name##Op>::Run;
#include "ops/op_list.def"
#undef OP
  }

  std::string_view name() const override { return "cpu"; }
  std::string Describe() const override {
    return "cpu: " + std::string(context_.k.isa) + ", " +
           std::to_string(context_.pool.num_workers()) +
           (context_.pool.num_workers() == 1 ? " thread" : " threads");
  }
  std::vector<ops::KernelInfo> Kernels() const override {
    std::vector<ops::KernelInfo> kernels;
#define OP(file, Name) kernels.push_back({#file, std::string("cpu ") + context_.k.name});
#include "ops/op_list.def"
#undef OP
    return kernels;
  }
  std::vector<std::string> Warnings() const override {
    std::vector<std::string> warnings;
    std::string text = cpu::PlainCodeWarning(context_.k.isa, isa_was_chosen_);
    if (!text.empty()) warnings.push_back(std::move(text));
    return warnings;
  }
  const ops::OpTable& ops() const override { return table_; }
  ops::Stream& stream() override { return context_; }

  Result<std::unique_ptr<ops::Buffer>> Allocate(int64_t size_bytes) override {
    if (size_bytes < 0) {
      return InvalidArgument("cpu: cannot allocate " + std::to_string(size_bytes) + " bytes");
    }
    AlignedBytes memory(size_bytes);
    if (memory.data() == nullptr && size_bytes > 0) {
      return ResourceExhausted("cpu: no memory for " + std::to_string(size_bytes) + " bytes");
    }
    return std::unique_ptr<ops::Buffer>(new CpuBuffer(std::move(memory)));
  }

  Result<Ceilings> MeasureCeilings(const CeilingOptions& options) override {
    return cpu::MeasureCeilings(context_.k.name, context_.pool, options);
  }

  int num_host_threads() const override { return context_.pool.num_workers(); }
  void ForEach(int64_t count, ops::HostTask task) override {
    context_.ForPieces(count, 1, [&](int worker, int64_t item, int64_t) { task(item, worker); });
  }

  ops::LaneLimits lanes() const override {
    return LanesOf(context_.k, context_.pool.num_workers());
  }
  void RunLane(int index, ops::LaneTask task) override {
    Context& own = *lanes_[static_cast<size_t>(index)];
    own.is_running.store(true, std::memory_order_relaxed);
    try {
      task(own);
    } catch (const std::bad_alloc&) {
      own.is_running.store(false, std::memory_order_release);
      throw;
    }
    own.is_running.store(false, std::memory_order_release);
    HelpOthers(index);
  }

  std::string PackedLayout() const override { return PanelLayoutName(); }

  bool FusesGatedFfn(const ops::PackedWeight& gate_up,
                     const ops::PackedWeight& down) const override {
    return FusesInnerRows(AsCpu(&gate_up), AsCpu(&down));
  }

  Result<std::unique_ptr<ops::PackedWeight>> PackWeight(const ops::WeightSource& source) override {
    auto weight = CpuWeight::Pack(source, context_.pool, weight_memory_);
    if (!weight.ok()) return weight.status();
    return std::unique_ptr<ops::PackedWeight>(std::move(weight).value());
  }

 private:
  // Until none runs. Those that have not begun are left to whoever begins them.
  void HelpOthers(int index) {
    int spins = 0;
    for (bool some_run = true; some_run;) {
      some_run = false;
      for (const auto& lane : lanes_) {
        if (!lane->is_running.load(std::memory_order_acquire)) continue;
        some_run = true;
        if (lane->Help(index)) spins = 0;
      }
      Pause(spins++);
    }
  }

  Context context_;
  std::vector<std::unique_ptr<Context>> lanes_;  // none where there is one thread
  WeightMemory weight_memory_;
  const bool isa_was_chosen_;
  ops::OpTable table_;
};

}  // namespace

Result<std::unique_ptr<ops::Backend>> MakeCpuBackend(const backends::BackendOptions& options) {
  auto kernels = SelectKernels(options.cpu_isa);
  if (!kernels.ok()) return kernels.status();
  const bool chosen = !ChosenIsa(options.cpu_isa).empty();
  try {
    return std::unique_ptr<ops::Backend>(new CpuBackend(*kernels, options.num_threads, chosen));
  } catch (const std::system_error& error) {
    const int threads = options.num_threads > 0 ? options.num_threads : AvailableCpus();
    return ResourceExhausted("cpu: the system gives no " + std::to_string(threads) +
                             " threads: " + error.what());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("cpu: no memory for the threads' state");
  }
}

ops::LaneLimits LanesOf(const backends::BackendOptions& options) {
  const auto kernels = SelectKernels(options.cpu_isa);
  if (!kernels.ok()) return {};
  return LanesOf(**kernels, options.num_threads > 0 ? options.num_threads : AvailableCpus());
}

std::string PlainCodeWarning(std::string_view isa, bool was_chosen) {
  if (isa != "scalar" || was_chosen) return {};
#if defined(__x86_64__)
  return "cpu: this CPU has no AVX2 (with FMA and F16C): plain code runs, with the same results, "
         "many times slower than on a CPU that has it";
#else
  return "cpu: this build has only plain code for this CPU: the same results, many times slower";
#endif
}

}  // namespace rill::cpu
