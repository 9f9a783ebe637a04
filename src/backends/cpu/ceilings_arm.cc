// Ceiling loops of aarch64 (see ceilings_x86.cc).
#if defined(__aarch64__)
#include <arm_neon.h>

#include "backends/cpu/ceilings.h"

namespace rill::cpu {
namespace {

constexpr int kChains = 12;

// The sums wrap around, on purpose.
void Bump(int32_t* sink, int32_t value) {
  *sink = static_cast<int32_t>(static_cast<uint32_t>(*sink) + static_cast<uint32_t>(value));
}

#define RILL_OPAQUE(x) asm volatile("" : "+w"(x))

__attribute__((target("arch=armv8.2-a+dotprod"))) void Sdot(int64_t rounds, int32_t* sink) {
  int8x16_t a = vdupq_n_s8(static_cast<int8_t>(*sink + 1)), b = a;
  int32x4_t acc[kChains];
  for (int32x4_t& x : acc) x = vdupq_n_s32(*sink);
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    for (int32x4_t& x : acc) x = vdotq_s32(x, a, b);
  }
  for (int32x4_t x : acc) Bump(sink, vaddvq_s32(x));
}

__attribute__((target("arch=armv8.2-a+i8mm"))) void Smmla(int64_t rounds, int32_t* sink) {
  int8x16_t a = vdupq_n_s8(static_cast<int8_t>(*sink + 1)), b = a;
  int32x4_t acc[kChains];
  for (int32x4_t& x : acc) x = vdupq_n_s32(*sink);
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    for (int32x4_t& x : acc) x = vmmlaq_s32(x, a, b);
  }
  for (int32x4_t x : acc) Bump(sink, vaddvq_s32(x));
}

// 8 products to 16 bits, added in pairs to 32 bits.
void Smull(int64_t rounds, int32_t* sink) {
  int8x16_t a = vdupq_n_s8(static_cast<int8_t>(*sink + 1)), b = a;
  int32x4_t acc[kChains];
  for (int32x4_t& x : acc) x = vdupq_n_s32(*sink);
  for (int64_t r = 0; r < rounds; ++r) {
    for (int32x4_t& x : acc) {
      RILL_OPAQUE(b);
      const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
      x = vpadalq_s16(x, vmlal_high_s8(low, a, b));
    }
  }
  for (int32x4_t x : acc) Bump(sink, vaddvq_s32(x));
}

void Fmla(int64_t rounds, int32_t* sink) {
  float32x4_t a = vdupq_n_f32(1e-3f + static_cast<float>(*sink)), b = a, acc[kChains];
  for (float32x4_t& x : acc) x = a;
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    for (float32x4_t& x : acc) x = vfmaq_f32(x, a, b);
  }
  for (float32x4_t x : acc) *sink += vaddvq_f32(x) > 1e30f;
}

#undef RILL_OPAQUE

}  // namespace

CeilingLoops CeilingLoopsArm(std::string_view isa) {
  const CeilingLoop f32{Fmla, kChains * 4};
  if (isa == "neon_i8mm") return {{Smmla, kChains * 32}, f32, nullptr};
  if (isa == "neon_dotprod") return {{Sdot, kChains * 16}, f32, nullptr};
  if (isa == "neon") return {{Smull, kChains * 16}, f32, nullptr};
  return {};
}

}  // namespace rill::cpu
#endif  // __aarch64__
