#include "base/cpu_features.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace rill {
namespace {

#if defined(__aarch64__)
// Arm's kernel gives numbers (the Main ID Register) where x86's gives a name.
std::string ArmModelName(unsigned implementer, unsigned part) {
  struct Core {
    unsigned part;
    const char* name;
  };
  constexpr Core kArmCores[] = {
      {0xd03, "Cortex-A53"},  {0xd05, "Cortex-A55"},  {0xd07, "Cortex-A57"},
      {0xd08, "Cortex-A72"},  {0xd09, "Cortex-A73"},  {0xd0a, "Cortex-A75"},
      {0xd0b, "Cortex-A76"},  {0xd0c, "Neoverse N1"}, {0xd0d, "Cortex-A77"},
      {0xd40, "Neoverse V1"}, {0xd41, "Cortex-A78"},  {0xd44, "Cortex-X1"},
      {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"}, {0xd48, "Cortex-X2"},
      {0xd49, "Neoverse N2"}, {0xd4d, "Cortex-A715"}, {0xd4e, "Cortex-X3"},
      {0xd4f, "Neoverse V2"}, {0xd80, "Cortex-A520"}, {0xd81, "Cortex-A720"},
      {0xd82, "Cortex-X4"},
  };
  constexpr unsigned kArm = 0x41;
  if (implementer == kArm) {
    for (const Core& core : kArmCores) {
      if (core.part == part) return std::string("Arm ") + core.name;
    }
  }
  char text[64];
  std::snprintf(text, sizeof text, "Arm implementer 0x%x part 0x%x", implementer, part);
  return text;
}
#endif

std::string ModelName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  [[maybe_unused]] unsigned implementer = 0, part = 0;
  while (std::getline(cpuinfo, line)) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name") || line.starts_with("Model")) return value;
#if defined(__aarch64__)
    const auto number = static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 0));
    if (line.starts_with("CPU implementer")) implementer = number;
    if (line.starts_with("CPU part")) part = number;
    if (implementer != 0 && part != 0) return ArmModelName(implementer, part);
#endif
  }
  return "unknown";
}

size_t L2Bytes() {
  const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (l2 > 0) return static_cast<size_t>(l2);
  // glibc does not know it on Arm, where the kernel may: "1024K".
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index2/size");
  size_t kib = 0;
  char unit = 0;
  return file >> kib >> unit && unit == 'K' && kib < (size_t{1} << 20) ? kib << 10 : 0;
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
  f.l2_bytes = L2Bytes();
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
  f.neon = true;  // part of the architecture
  f.neon_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  f.neon_i8mm = f.neon_dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#endif
  return f;
}

}  // namespace

const CpuFeatures& GetCpuFeatures() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace rill
