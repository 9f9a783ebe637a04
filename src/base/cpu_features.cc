#include "base/cpu_features.h"

#include <unistd.h>

#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace rill {
namespace {

std::string ModelName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (line.starts_with("model name") || line.starts_with("Model")) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown";
}

#if defined(__x86_64__)
// Linux hands out the 8 KiB of tile state only to processes that ask (arch_prctl, since 5.16); it
// refuses while an alternate signal stack is too small for it. Threads inherit the permission.
bool AmxPermission() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

CpuFeatures Detect() {
  CpuFeatures f;
  f.model_name = ModelName();
  const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  f.l2_bytes = l2 > 0 ? static_cast<size_t>(l2) : 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // __builtin_cpu_supports also checks that the OS saves ymm/zmm state (XGETBV).
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) f.avx2 = f.avx2 && (c & bit_F16C) != 0;
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  f.avx512_vnni = f.avx512 && __builtin_cpu_supports("avx512vnni");
  if (f.avx512_vnni && __get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
    f.amx_int8 = (d & kTile) != 0 && (d & kInt8) != 0 && AmxPermission();
  }
  if (f.avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx_vnni = (a & (1u << 4)) != 0;
#elif defined(__aarch64__)
  const unsigned long hwcap = getauxval(AT_HWCAP);
  const unsigned long hwcap2 = getauxval(AT_HWCAP2);
  f.neon = true;
  f.neon_dotprod = (hwcap & (1ul << 20)) != 0;
  f.neon_i8mm = (hwcap2 & (1ul << 13)) != 0;
#endif
  return f;
}

}  // namespace

const CpuFeatures& GetCpuFeatures() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace rill
