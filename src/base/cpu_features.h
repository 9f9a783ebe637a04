// What this CPU and operating system can run, read once.
#pragma once

#include <string>

namespace rill {

struct CpuFeatures {
  bool avx2 = false;  // AVX2 + FMA + F16C, with OS support for ymm
  bool avx_vnni = false;
  bool avx512 = false;  // F + BW + DQ + VL, with OS support for zmm
  bool avx512_vnni = false;
  bool amx_int8 = false;      // AVX-512 VNNI + AMX int8, and the OS lets this process use the tiles
  bool neon = false;          // AdvSIMD: every 64-bit Arm CPU
  bool neon_dotprod = false;  // Armv8.2 sdot and udot
  bool neon_i8mm = false;     // neon_dotprod, and smmla
  std::string model_name;     // "AMD EPYC 7763", or "unknown"
  size_t l2_bytes = 0;        // per core; 0 when unknown
};

const CpuFeatures& GetCpuFeatures();

}  // namespace rill
