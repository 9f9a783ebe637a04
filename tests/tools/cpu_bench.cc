// Speed of the CPU backend's matrix and attention kernels, beside this machine's own ceilings
// measured in the same run.
//
//   cpu_bench [--threads N] [--isa NAME] [--only linear|attention] [--reps N]
//   cpu_bench --rows N --cols K [--dtype q4_0] [--mode q8|f32] [--tokens 1,8,512]: that product
//   alone
//
// Prints one line a case: median time (and the best, which a busy machine disturbs least), GMAC/s
// or GB/s, and the share of the ceiling: f32 fma rate for f32 and attention, read bandwidth for one
// token.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "base/cpu_features.h"
#include "base/float_types.h"

namespace {

using namespace rill;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int g_reps = 7;

struct Times {
  double median, best;
};
template <typename Fn>
Times Measure(Fn&& fn) {
  fn();
  std::vector<double> times;
  for (int i = 0; i < g_reps; ++i) {
    const double start = Seconds();
    fn();
    times.push_back(Seconds() - start);
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[0]};
}

std::unique_ptr<ops::PackedWeight> MakeWeight(ops::Backend& backend, DType dtype, int64_t rows,
                                              int64_t k, ops::ActivationMode mode,
                                              std::vector<uint8_t>& bytes) {
  bytes.resize(static_cast<size_t>(*RowBytes(dtype, k) * rows));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 59);
  ops::WeightSource source;
  source.name = "bench";
  source.parts = {TensorView(bytes.data(), dtype, {rows, k})};
  source.activations = mode;
  auto weight = backend.PackWeight(source);
  if (!weight.ok()) {
    std::fprintf(stderr, "%s\n", weight.status().ToString().c_str());
    std::exit(1);
  }
  return std::move(weight).value();
}

void Linear(ops::Backend& backend, DType dtype, int64_t rows, int64_t k, int64_t tokens,
            ops::ActivationMode mode) {
  std::vector<uint8_t> bytes;
  const double start = Seconds();
  auto weight = MakeWeight(backend, dtype, rows, k, mode, bytes);
  const double pack = Seconds() - start;
  std::vector<float> x(static_cast<size_t>(tokens * k), 0.5f),
      y(static_cast<size_t>(tokens * rows));
  ops::LinearArgs args;
  args.x = TensorView(x.data(), DType::kF32, {tokens, k});
  args.w = weight.get();
  args.y = MutableTensorView(y.data(), DType::kF32, {tokens, rows});
  const auto [seconds, best] = Measure([&] { backend.ops().linear(args, backend.stream()); });
  const double macs = static_cast<double>(rows * k * tokens);
  std::printf(
      "linear %-6s x %-3s [%6ld x %5ld] tokens %4ld: %9.1f us %8.1f (%.1f) GMAC/s %7.2f (%.2f) "
      "GB/s of "
      "weights, packed at %.2f GB/s\n",
      std::string(DTypeName(dtype)).c_str(), mode == ops::ActivationMode::kQ8 ? "q8" : "f32", rows,
      k, tokens, seconds * 1e6, macs / seconds * 1e-9, macs / best * 1e-9,
      static_cast<double>(weight->packed_bytes()) / seconds * 1e-9,
      static_cast<double>(weight->packed_bytes()) / best * 1e-9,
      static_cast<double>(bytes.size()) / pack * 1e-9);
}

void Attention(ops::Backend& backend, quant::KvFormat format, int32_t q_len, int32_t kv_len) {
  constexpr int32_t kHeads = 9, kKvHeads = 3, kDim = 64;
  PagedKvView kv;
  kv.layout = {.format = format,
               .num_layers = 1,
               .num_kv_heads = kKvHeads,
               .k_dim = kDim,
               .v_dim = kDim,
               .page_size = 64};
  kv.num_pages = (kv_len + 63) / 64;
  auto buffer = backend.Allocate(kv.num_pages * kv.layout.page_bytes());
  if (!buffer.ok()) std::exit(1);
  kv.base = (*buffer)->data();
  std::vector<int32_t> table;
  for (int32_t p = 0; p < kv.num_pages; ++p) table.push_back(p);
  const int32_t offsets[2] = {0, q_len};
  kv.num_seqs = 1;
  kv.max_pages = kv.num_pages;
  kv.page_table = table.data();
  kv.q_offsets = offsets;
  kv.kv_lens = &kv_len;
  std::vector<float> q(static_cast<size_t>(q_len) * kHeads * kDim, 0.1f), y(q.size());
  ops::PagedAttentionArgs args;
  args.q = TensorView(q.data(), DType::kF32, {q_len, kHeads, kDim});
  args.kv = &kv;
  args.y = MutableTensorView(y.data(), DType::kF32, {q_len, kHeads, kDim});
  args.score_scale = 0.125f;
  const double seconds =
      Measure([&] { backend.ops().paged_attention(args, backend.stream()); }).median;
  const double pairs = static_cast<double>(q_len) * (kv_len - q_len) + 0.5 * q_len * (q_len + 1.0);
  const double bytes = static_cast<double>(kv.layout.page_bytes()) / kv.layout.page_size * kv_len;
  std::printf(
      "attention %-4s 9/3 heads of 64, %4d queries over %5d: %9.1f us %8.1f GMAC/s %7.2f GB/s of "
      "KV\n",
      std::string(quant::KvFormatName(format)).c_str(), q_len, kv_len, seconds * 1e6,
      pairs * kHeads * kDim * 2 / seconds * 1e-9, bytes / seconds * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  backends::BackendOptions options;
  std::string only, mode = "q8", dtype = "q4_0";
  int64_t rows = 0, cols = 0;
  std::vector<int64_t> tokens = {1, 8, 16, 32, 512};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") options.num_threads = std::atoi(argv[i + 1]);
    if (flag == "--isa") options.cpu_isa = argv[i + 1];
    if (flag == "--only") only = argv[i + 1];
    if (flag == "--rows") rows = std::atoll(argv[i + 1]);
    if (flag == "--cols") cols = std::atoll(argv[i + 1]);
    if (flag == "--dtype") dtype = argv[i + 1];
    if (flag == "--mode") mode = argv[i + 1];
    if (flag == "--tokens") {
      tokens.clear();
      for (const char* p = argv[i + 1]; *p != 0;) {
        char* end = nullptr;
        tokens.push_back(std::strtoll(p, &end, 10));
        if (end == p) return 2;
        p = *end == ',' ? end + 1 : end;
      }
    }
    if (flag == "--reps") g_reps = std::atoi(argv[i + 1]);
  }
  auto made = backends::MakeBackend("cpu", options);
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", made.status().ToString().c_str());
    return 1;
  }
  ops::Backend& backend = **made;
  std::printf("%s on %s\n", backend.Describe().c_str(), GetCpuFeatures().model_name.c_str());
  using enum ops::ActivationMode;
  if (rows > 0 && cols > 0) {
    for (int i = 0; i < kNumDTypes; ++i) {
      const auto type = static_cast<DType>(i);
      if (DTypeName(type) != dtype) continue;
      for (int64_t n : tokens) Linear(backend, type, rows, cols, n, mode == "q8" ? kQ8 : kF32);
    }
    return 0;
  }
  if (only.empty() || only == "linear") {
    for (DType dtype : {DType::kQ4_1, DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
      const int64_t k = 768;
      for (int64_t tokens : {1, 8, 512}) Linear(backend, dtype, 3072, k, tokens, kQ8);
    }
    Linear(backend, DType::kQ8_0, 49152, 576, 1, kQ8);
    for (int64_t tokens : {1, 512}) {
      Linear(backend, DType::kQ4_1, 3072, 768, tokens, kF32);
      Linear(backend, DType::kF32, 3072, 768, tokens, kF32);
    }
  }
  if (only.empty() || only == "attention") {
    for (int i = 0; i < quant::kNumKvFormats; ++i) {
      const auto format = static_cast<quant::KvFormat>(i);
      Attention(backend, format, 512, 512);
      Attention(backend, format, 1, 512);
      Attention(backend, format, 1, 4096);
    }
  }
  return 0;
}
