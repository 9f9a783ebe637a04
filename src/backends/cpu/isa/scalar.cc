// Plain C++ for any CPU: fused multiply-adds come from libm.
// Headers come before the target region; nothing of the standard library is instantiated in it.
#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "base/float_types.h"
#include "quant/iq4_nl.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC does not see that a loop over 16 lanes writes all of an array of 16.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_ISA_NAME "scalar"
#define RILL_ISA_USER_NAME "scalar"

namespace rill::cpu::scalar {
namespace {
// clang-format off: in the order of use.
#include "backends/cpu/isa/vec_scalar.inl"
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
}  // namespace rill::cpu::scalar
