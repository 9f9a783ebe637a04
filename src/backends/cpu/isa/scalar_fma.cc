// Plain C++ with the FMA instruction: what 'scalar' means where the CPU has one, about ten times
// faster than libm's and the same bits.
// Headers come before the target region; nothing of the standard library is instantiated in it.
#if defined(__x86_64__)
#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "base/float_types.h"
#include "quant/iq4_nl.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx,fma")
#endif

#if defined(__GNUC__) && !defined(__clang__)
// GCC does not see that a loop over 16 lanes writes all of an array of 16.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_ISA_NAME "scalar_fma"
#define RILL_ISA_USER_NAME "scalar"

namespace rill::cpu::scalar_fma {
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
}  // namespace rill::cpu::scalar_fma

#if defined(__clang__)
#pragma clang attribute pop
#endif  // GCC: the region stays open, so that templates instantiated at the end of the file are in
        // it
#endif  // __x86_64__
