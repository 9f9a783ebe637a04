// Norms, activations, sums, copies, embeddings and rotary angles: rows split over the threads.
#include <cmath>
#include <cstring>

#include "backends/cpu/context.h"
#include "base/check.h"
#include "quant/dequant.h"

namespace rill::cpu {

void ActivationOp(const ops::ActivationArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.x.dim(0), args.x.dim(1) * 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.activation(args.kind, args.x.Row<float>(t), args.y.Row<float>(t), args.x.dim(1));
    }
  });
}

void GluOp(const ops::GluArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.y.dim(0), args.y.dim(1) * 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.glu(args.kind, args.gate.Row<float>(t), args.up.Row<float>(t), args.y.Row<float>(t),
              args.y.dim(1));
    }
  });
}

void AddOp(const ops::AddArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.y.dim(0), args.y.dim(1), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.add(args.a.Row<float>(t), args.b.Row<float>(t), args.b_scale, args.y.Row<float>(t),
              args.y.dim(1));
    }
  });
}

void ScaleOp(const ops::ScaleArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.y.dim(0), args.y.dim(1), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.scale(args.x.Row<float>(t), args.factor, args.y.Row<float>(t), args.y.dim(1));
    }
  });
}

void ClampOp(const ops::ClampArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.y.dim(0), args.y.dim(1), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.clamp(args.x.Row<float>(t), args.limit, args.y.Row<float>(t), args.y.dim(1));
    }
  });
}

void SoftcapOp(const ops::SoftcapArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  ForRows(c, args.y.dim(0), args.y.dim(1) * 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      c.k.softcap(args.x.Row<float>(t), args.cap, args.y.Row<float>(t), args.y.dim(1));
    }
  });
}

namespace {
// Row g of a [size] or [num_groups, size] parameter; nullptr when it is not given.
const float* GroupRow(const TensorView& parameter, int64_t g) {
  if (parameter.empty()) return nullptr;
  return parameter.rank() == 1 ? parameter.As<float>() : parameter.Row<float>(g);
}
template <typename View>
auto* Head(const View& x, int64_t t, int64_t h) {
  return x.template Row<float>(t) + h * x.stride(1);
}
}  // namespace

void RmsNormOp(const ops::RmsNormArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t groups = args.x.dim(1), size = args.x.dim(2);
  ForRows(c, args.x.dim(0), groups * size, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t g = 0; g < groups; ++g) {
        c.k.rms_norm(Head(args.x, t, g), GroupRow(args.weight, g), args.eps, args.weight_bias,
                     Head(args.y, t, g), size);
      }
    }
  });
}

void LayerNormOp(const ops::LayerNormArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t groups = args.x.dim(1), size = args.x.dim(2);
  ForRows(c, args.x.dim(0), groups * size, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t g = 0; g < groups; ++g) {
        c.k.layer_norm(Head(args.x, t, g), GroupRow(args.weight, g), GroupRow(args.bias, g),
                       args.eps, Head(args.y, t, g), size);
      }
    }
  });
}

void SkipRmsNormOp(const ops::SkipRmsNormArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t size = args.x.dim(1);
  ForRows(c, args.x.dim(0), size * 2, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* h = args.h.Row<float>(t);
      c.k.add(args.x.Row<float>(t), args.skip.Row<float>(t), 1.0f, h, size);
      c.k.rms_norm(h, args.weight.empty() ? nullptr : args.weight.As<float>(), args.eps,
                   args.weight_bias, args.y.Row<float>(t), size);
    }
  });
}

void SkipLayerNormOp(const ops::SkipLayerNormArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t size = args.x.dim(1);
  ForRows(c, args.x.dim(0), size * 2, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* h = args.h.Row<float>(t);
      c.k.add(args.x.Row<float>(t), args.skip.Row<float>(t), 1.0f, h, size);
      c.k.layer_norm(h, GroupRow(args.weight, 0), GroupRow(args.bias, 0), args.eps,
                     args.y.Row<float>(t), size);
    }
  });
}

void CopyOp(const ops::CopyArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t heads = args.x.dim(1), size = args.x.dim(2);
  ForRows(c, args.x.dim(0), heads * size, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        std::memcpy(Head(args.y, t, h), Head(args.x, t, h), static_cast<size_t>(size) * 4);
      }
    }
  });
}

void GatherRowsOp(const ops::GatherRowsArgs& args, ops::Stream&) {
  const auto* rows = args.rows.As<int32_t>();
  for (int64_t r = 0; r < args.rows.dim(0); ++r) {
    CHECK(rows[r] >= 0 && rows[r] < args.x.dim(0))
        << "gather_rows: row " << rows[r] << " of " << args.x.dim(0);
    std::memcpy(args.y.Row<float>(r), args.x.Row<float>(rows[r]),
                static_cast<size_t>(args.x.dim(1)) * 4);
  }
}

namespace {

// Floats that ReadRow may use as scratch.
int64_t RowScratchFloats(const CpuWeight& w) {
  return w.cols() * kPanelRows;
}

// Decodes one row of a weight exactly. A whole panel is decoded for it: 16 rows cost little more
// than the bytes of one, which lie in the same lines.
void ReadRow(Context& c, const CpuWeight& w, int64_t row, float* scratch, float* out) {
  const int64_t k = w.cols();
  if (!w.in_place().empty()) {
    const TensorView& view = w.in_place();
    const DTypeTraits& traits = Traits(view.dtype);
    const auto* bytes = reinterpret_cast<const uint8_t*>(view.data) +
                        row * (view.stride(0) / traits.block_weights) * traits.block_bytes;
    const Status status = quant::DequantizeRow(view.dtype, bytes, k, out);
    CHECK(status.ok()) << status.message();
    return;
  }
  for (const CpuWeight::Segment& s : w.segments()) {
    if (row >= s.row0 + s.rows) continue;
    const int64_t panel = (row - s.row0) / kPanelRows, lane = (row - s.row0) % kPanelRows;
    const float* values = reinterpret_cast<const float*>(s.Panel(0, panel));
    if (const DecodeFn decode = c.Decoder(s)) {
      decode(s.Panel(0, panel), k, s.group_units, scratch);
      values = scratch;
    }
    for (int64_t i = 0; i < k; ++i) out[i] = values[i * kPanelRows + lane];
    return;
  }
}

}  // namespace

void EmbeddingOp(const ops::EmbeddingArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const CpuWeight& table = AsCpu(args.table);
  const auto* ids = args.token_ids.As<int32_t>();
  const int64_t size = table.cols();
  float* scratch = c.rows.Array<float>(RowScratchFloats(table) * c.pool.num_workers());
  const int64_t n = args.token_ids.dim(0);
  const auto rows = [&](int64_t begin, int64_t end, int worker) {
    for (int64_t t = begin; t < end; ++t) {
      CHECK(ids[t] >= 0 && ids[t] < table.rows())
          << "embedding: token id " << ids[t] << " of " << table.rows();
      float* y = args.y.Row<float>(t);
      ReadRow(c, table, ids[t], scratch + worker * RowScratchFloats(table), y);
      if (args.scale != 1.0f) c.k.scale(y, args.scale, y, size);
    }
  };
  if (n < 4) return rows(0, n, 0);
  c.pool.Run([&](int worker, int workers) {
    rows(n * worker / workers, n * (worker + 1) / workers, worker);
  });
}

void PositionEmbeddingOp(const ops::PositionEmbeddingArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const CpuWeight& table = AsCpu(args.table);
  const auto* positions = args.positions.As<int32_t>();
  const int64_t size = table.cols();
  float* scratch = c.rows.Array<float>(RowScratchFloats(table) + size);
  float* row = scratch + RowScratchFloats(table);
  for (int64_t t = 0; t < args.positions.dim(0); ++t) {
    const int64_t p = int64_t{positions[t]} + args.offset;
    CHECK(p >= 0 && p < table.rows()) << "position_embedding: " << p << " of " << table.rows();
    ReadRow(c, table, p, scratch, row);
    c.k.add(args.x.Row<float>(t), row, 1.0f, args.y.Row<float>(t), size);
  }
}

namespace {

// sin and cos of an f32 angle, in double and plain C++ (the same bits on every ISA: no fma, no
// libm), rounded to f32 at the end: within 0.51 ulp for |a| < 2^22.
//   n = round(a 2/pi), r = a - n pi/2 with pi/2 in three parts, the first two of 30 bits, so that
//   their products with n (22 bits) are exact; Taylor polynomials on |r| <= pi/4.
void SinCos(float angle, float* sin, float* cos) {
  const double a = angle;
  const double shifted = a * 0.63661977236758134308 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  double r = a - n * 1.57079632673412561417e+00;  // 33 bits of pi/2
  r -= n * 6.07710050630396597660e-11;            // 33 more
  r -= n * 2.02226624879595063154e-21;
  const double s = r * r;
  double sine = -7.6471637318198164759e-13;  // -1/15!
  sine = sine * s + 1.6059043836821614599e-10;
  sine = sine * s + -2.5052108385441718775e-08;
  sine = sine * s + 2.7557319223985890653e-06;
  sine = sine * s + -1.9841269841269841270e-04;
  sine = sine * s + 8.3333333333333333333e-03;
  sine = sine * s + -1.6666666666666666667e-01;
  sine = r + r * s * sine;
  double cosine = 4.7794773323873852974e-14;  // 1/16!
  cosine = cosine * s + -1.1470745597729724714e-11;
  cosine = cosine * s + 2.0876756987868098979e-09;
  cosine = cosine * s + -2.7557319223985890653e-07;
  cosine = cosine * s + 2.4801587301587301587e-05;
  cosine = cosine * s + -1.3888888888888888889e-03;
  cosine = cosine * s + 4.1666666666666666667e-02;
  cosine = 1.0 - 0.5 * s + s * s * cosine;
  const int quadrant = static_cast<int>(static_cast<int64_t>(n) & 3);
  const double swapped_sine = quadrant & 1 ? cosine : sine;
  const double swapped_cosine = quadrant & 1 ? sine : cosine;
  *sin = static_cast<float>(quadrant & 2 ? -swapped_sine : swapped_sine);
  *cos = static_cast<float>(quadrant == 1 || quadrant == 2 ? -swapped_cosine : swapped_cosine);
}

}  // namespace

void RopeAnglesOp(const ops::RopeAnglesArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const auto* positions = args.positions.As<int32_t>();
  const auto* inv_freq = args.inv_freq.As<float>();
  const int64_t half = args.inv_freq.dim(0);
  ForRows(c, args.positions.dim(0), half * 32, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* out = args.cos_sin.Row<float>(t);
      const float position = static_cast<float>(positions[t]);
      for (int64_t i = 0; i < half; ++i) {
        float sin = 0, cos = 0;
        SinCos(position * inv_freq[i], &sin, &cos);
        out[2 * i] = args.magnitude * cos;
        out[2 * i + 1] = args.magnitude * sin;
      }
    }
  });
}

}  // namespace rill::cpu
