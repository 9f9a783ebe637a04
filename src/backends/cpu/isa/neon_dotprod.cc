// Armv8.2 dot products: isa/neon.cc with sdot for the integer dot product.
// Headers come before the target region; nothing of the standard library is instantiated in it.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "quant/iq4_nl.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_DOT 1
#define RILL_I8MM 0
#define RILL_ISA_NAME "neon_dotprod"
#define RILL_ISA_USER_NAME "neon_dotprod"

namespace rill::cpu::neon_dotprod {
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
}  // namespace rill::cpu::neon_dotprod

#if defined(__clang__)
#pragma clang attribute pop
#endif  // GCC: the region stays open, so that templates instantiated at the end of the file are in
        // it
#endif  // __aarch64__
