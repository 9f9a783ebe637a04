// AVX-512 with VNNI and AMX int8: isa/avx512_vnni.cc with the tile unit for products of many
// tokens. Headers come before the target region; nothing of the standard library is instantiated in
// it.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

#include "backends/cpu/exec_format.h"
#include "backends/cpu/kernels.h"
#include "quant/iq4_nl.h"

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8,avx2,fma,f16c")
#endif

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers: _mm512_undefined_ps() is 'used uninitialized' on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#define RILL_INLINE inline __attribute__((always_inline))
#define RILL_VNNI 1
#define RILL_AMX 1
#define RILL_ISA_NAME "amx"
#define RILL_ISA_USER_NAME "amx"

namespace rill::cpu::amx {
namespace {
// clang-format off: in the order of use.
#include "backends/cpu/isa/vec_avx512.inl"
#include "backends/cpu/math.inl"
#include "backends/cpu/elementwise.inl"
#include "backends/cpu/codes.inl"
#include "backends/cpu/gemm_q8.inl"
#include "backends/cpu/isa/tiles_amx.inl"
#include "backends/cpu/gemm_amx.inl"
#include "backends/cpu/gemm_f32.inl"
#include "backends/cpu/quantize.inl"
#include "backends/cpu/epilogue.inl"
#include "backends/cpu/attention.inl"
// clang-format on
}  // namespace
#include "backends/cpu/kernel_table.inl"
}  // namespace rill::cpu::amx

#if defined(__clang__)
#pragma clang attribute pop
#endif  // GCC: the region stays open, so that templates instantiated at the end of the file are in
        // it
#endif  // __x86_64__
