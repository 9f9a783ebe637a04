// 8-bit matrix products: isa/neon_dotprod.cc with smmla for products of many tokens.
// Headers come before the target region; nothing of the standard library is instantiated in it.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "quant/iq4_nl.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#endif

#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_DOT 1
#define RILL_I8MM 1
#define RILL_ISA_NAME "neon_i8mm"
#define RILL_ISA_USER_NAME "i8mm"

namespace rill::cpu::neon_i8mm {
namespace {
// clang-format off: in the order of use.
#include "backends/cpu/isa/vec_neon.inl"
#include "backends/cpu/math.inl"
#include "backends/cpu/elementwise.inl"
#include "backends/cpu/codes.inl"
#include "backends/cpu/gemm_q8.inl"
#include "backends/cpu/gemm_i8mm.inl"
#include "backends/cpu/gemm_f32.inl"
#include "backends/cpu/quantize.inl"
#include "backends/cpu/epilogue.inl"
#include "backends/cpu/attention.inl"
// clang-format on
}  // namespace
#include "backends/cpu/kernel_table.inl"
}  // namespace rill::cpu::neon_i8mm

#if defined(__clang__)
#pragma clang attribute pop
#endif  // GCC: the region stays open, so that templates instantiated at the end of the file are in
        // it
#endif  // __aarch64__
