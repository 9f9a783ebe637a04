// Ceiling loops of x86: independent chains of one instruction, enough to hide its latency.
#if defined(__x86_64__)
#include <immintrin.h>

#include "backends/cpu/ceilings.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers: _mm512_undefined_epi32() is 'used uninitialized' on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace rill::cpu {
namespace {

constexpr int kChains = 12;
// Where only the addition of a product is in the chain; more of them are spilled by AVX2's
// registers.
constexpr int kAddChains = 6;
// GCC keeps chains in memory when it unrolls these loops late: 2 x 144 instead of 2 x 250 GMAC/s of
// vpdpbusd ymm on Zen 5.
#define RILL_UNROLL _Pragma("GCC unroll 12")

// The sums wrap around, on purpose.
void Bump(int32_t* sink, int32_t value) {
  *sink = static_cast<int32_t>(static_cast<uint32_t>(*sink) + static_cast<uint32_t>(value));
}

// "+v"(x): the compiler must take x for changed, so that nothing is computed once for all rounds,
// or for all chains.
#define RILL_OPAQUE(x) asm volatile("" : "+v"(x))

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void Vpdpbusd512(int64_t rounds,
                                                                        int32_t* sink) {
  __m512i a = _mm512_set1_epi32(*sink + 1), b = _mm512_set1_epi32(*sink + 2), acc[kChains];
  RILL_UNROLL
  for (__m512i& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    RILL_UNROLL
    for (__m512i& x : acc) x = _mm512_dpbusd_epi32(x, a, b);
  }
  RILL_UNROLL
  for (__m512i x : acc) Bump(sink, _mm512_reduce_add_epi32(x));
}

// u4 x s8 products, 16-bit sums: what AVX-512 without VNNI does for 4-bit weights.
__attribute__((target("avx512f,avx512bw"))) void Vpmaddubsw512(int64_t rounds, int32_t* sink) {
  __m512i a = _mm512_set1_epi32(*sink + 1), b = _mm512_set1_epi32(*sink + 2), acc[kAddChains];
  RILL_UNROLL
  for (__m512i& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_UNROLL
    for (__m512i& x : acc) {
      RILL_OPAQUE(b);
      x = _mm512_add_epi16(x, _mm512_maddubs_epi16(a, b));
    }
  }
  RILL_UNROLL
  for (__m512i x : acc) Bump(sink, _mm512_reduce_add_epi32(x));
}

__attribute__((target("avx512f"))) void Fma512(int64_t rounds, int32_t* sink) {
  __m512 a = _mm512_set1_ps(1e-3f + static_cast<float>(*sink)), b = a, acc[kChains];
  RILL_UNROLL
  for (__m512& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    RILL_UNROLL
    for (__m512& x : acc) x = _mm512_fmadd_ps(a, b, x);
  }
  RILL_UNROLL
  for (__m512 x : acc) *sink += static_cast<int32_t>(_mm512_reduce_add_ps(x) > 1e30f);
}

__attribute__((target("avx2"))) int32_t Sum256(__m256i x) {
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), x);
  uint32_t sum = 0;
  for (int32_t lane : lanes) sum += static_cast<uint32_t>(lane);
  return static_cast<int32_t>(sum);
}

__attribute__((target("avx2"))) void Vpmaddubsw256(int64_t rounds, int32_t* sink) {
  __m256i a = _mm256_set1_epi32(*sink + 1), b = _mm256_set1_epi32(*sink + 2), acc[kAddChains];
  RILL_UNROLL
  for (__m256i& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_UNROLL
    for (__m256i& x : acc) {
      RILL_OPAQUE(b);
      x = _mm256_add_epi16(x, _mm256_maddubs_epi16(a, b));
    }
  }
  RILL_UNROLL
  for (__m256i x : acc) Bump(sink, Sum256(x));
}

__attribute__((target("avx2,avxvnni"))) void Vpdpbusd256(int64_t rounds, int32_t* sink) {
  __m256i a = _mm256_set1_epi32(*sink + 1), b = _mm256_set1_epi32(*sink + 2), acc[kChains];
  RILL_UNROLL
  for (__m256i& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    RILL_UNROLL
    for (__m256i& x : acc) x = _mm256_dpbusd_avx_epi32(x, a, b);
  }
  RILL_UNROLL
  for (__m256i x : acc) Bump(sink, Sum256(x));
}

__attribute__((target("avx2,fma"))) void Fma256(int64_t rounds, int32_t* sink) {
  __m256 a = _mm256_set1_ps(1e-3f + static_cast<float>(*sink)), b = a, acc[kChains];
  RILL_UNROLL
  for (__m256& x : acc) {
    x = a;
    RILL_OPAQUE(x);
  }
  for (int64_t r = 0; r < rounds; ++r) {
    RILL_OPAQUE(b);
    RILL_UNROLL
    for (__m256& x : acc) x = _mm256_fmadd_ps(a, b, x);
  }
  RILL_UNROLL
  for (__m256 x : acc) Bump(sink, Sum256(_mm256_castps_si256(x)));
}

__attribute__((target("avx512f"))) uint64_t Read512(const uint8_t* data, int64_t size) {
  const int64_t length = size / kReadStreams;
  __m512i sum[8];
  for (__m512i& x : sum) x = _mm512_setzero_si512();
  for (int64_t i = 0; i < length; i += 512) {
    for (int64_t s = 0; s < kReadStreams; ++s) {
      const uint8_t* p = data + s * length + i;
      for (int j = 0; j < 8; ++j) {
        _mm_prefetch(reinterpret_cast<const char*>(p + 64 * j + kReadAhead), _MM_HINT_T0);
        sum[j] = _mm512_or_si512(sum[j], _mm512_loadu_si512(p + 64 * j));
      }
    }
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm512_or_si512(sum[0], sum[j]);
  return static_cast<uint64_t>(_mm512_reduce_or_epi64(sum[0]));
}

__attribute__((target("avx2"))) uint64_t Read256(const uint8_t* data, int64_t size) {
  const int64_t length = size / kReadStreams;
  __m256i sum[8];
  for (__m256i& x : sum) x = _mm256_setzero_si256();
  for (int64_t i = 0; i < length; i += 512) {
    for (int64_t s = 0; s < kReadStreams; ++s) {
      const uint8_t* p = data + s * length + i;
      for (int j = 0; j < 16; ++j) {
        if (j % 2 == 0) {
          _mm_prefetch(reinterpret_cast<const char*>(p + 32 * j + kReadAhead), _MM_HINT_T0);
        }
        const auto* at = reinterpret_cast<const __m256i*>(p + 32 * j);
        sum[j % 8] = _mm256_or_si256(sum[j % 8], _mm256_loadu_si256(at));
      }
    }
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm256_or_si256(sum[0], sum[j]);
  return static_cast<uint64_t>(Sum256(sum[0]));
}

// Four accumulator tiles from two tiles of each operand: 16 x 16 x 64 products an instruction. Only
// for processes that may use tiles (base/cpu_features asks).
__attribute__((target("amx-tile,amx-int8"))) void Tdpbssd(int64_t rounds, int32_t* sink) {
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {};
    uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  alignas(64) int32_t memory[256];
  for (int i = 0; i < 256; ++i) memory[i] = *sink + i;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, memory, 64);
  _tile_loadd(5, memory, 64);
  _tile_loadd(6, memory, 64);
  _tile_loadd(7, memory, 64);
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, memory, 64);
  Bump(sink, memory[0]);
  _tile_release();
}

#undef RILL_OPAQUE

}  // namespace

CeilingLoops CeilingLoopsX86(std::string_view isa) {
  const CeilingLoop fma512{Fma512, kChains * 16}, fma256{Fma256, kChains * 8};
  if (isa == "amx") return {{Tdpbssd, 4 * 16 * 16 * 64}, fma512, Read512};
  if (isa == "avx512_vnni") return {{Vpdpbusd512, kChains * 64}, fma512, Read512};
  if (isa == "avx512") return {{Vpmaddubsw512, kAddChains * 64}, fma512, Read512};
  if (isa == "avx_vnni") return {{Vpdpbusd256, kChains * 32}, fma256, Read256};
  if (isa == "avx2") return {{Vpmaddubsw256, kAddChains * 32}, fma256, Read256};
  return {};
}

}  // namespace rill::cpu
#endif  // __x86_64__
