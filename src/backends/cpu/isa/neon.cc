// Armv8.0 AdvSIMD, which every 64-bit Arm CPU has: four q registers a vector.
// Headers come before the target region; nothing of the standard library is instantiated in it.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "quant/iq4_nl.h"

#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_DOT 0
#define RILL_I8MM 0
#define RILL_ISA_NAME "neon"
#define RILL_ISA_USER_NAME "neon"

namespace rill::cpu::neon {
namespace {
// clang-format off: in the order of use.
#include "backends/cpu/isa/vec_neon.inl"
#include "backends/cpu/math.inl"
#include "backends/cpu/elementwise.inl"
#include "backends/cpu/codes.inl"
#include "backends/cpu/gemm_q8.inl"
#include "backends/cpu/gemm_f32.inl"
#include "backends/cpu/quantize.inl"
#include "backends/cpu/epilogue.inl"
#include "backends/cpu/attention.inl"
// clang-format on
}  // namespace
#include "backends/cpu/kernel_table.inl"
}  // namespace rill::cpu::neon
#endif  // __aarch64__
