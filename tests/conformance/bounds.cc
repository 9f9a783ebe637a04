// The tolerance of each op, as a formula of its inputs. u = 2^-24 is the f32 unit roundoff: one
// rounded operation is wrong by at most u times its result.
//
//   exact ops     0: their contract fixes every f32 operation.
//   activations   smooth f: 8u (|y| + |x|): a polynomial of a few ulp, and 1 + erf or 1 + tanh may
//                 cancel, which costs u times |x|. Denormal results: one smallest denormal.
//   norms         n values in 16 lanes: (n/16 + 4) u on the sum, half of it after the root, and 6
//                 more operations. layer_norm subtracts the mean, so its error scales with max|x|.
//   linear f32    a chain of K fmas: K u sum|x w|, and 4 more operations on the result.
//   linear q8     integers are exact; K/16 groups of at most 2 fmas, scales of 3 roundings:
//                 (K/8 + 8) u sum_k |a_k| 3 max|w|: a format with a minimum splits w into two
//                 terms, each at most the largest weight of the row, up to the sign.
//   attention     scores: K-chain as above with 4 more, then |dy| <= (2 ds + (kv_len + 24) u)
//   max|V|. gated         product rule over the two linear bounds; |f'| <= 2 max(1, |x|) for every
//   kind. moe           down bound over the activated values, which carry their own error; q8 may
//   round
//                 one activation to the neighbouring code: max|act| / 127 per element.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "conformance/compare.h"
#include "ops/reference/kv_page.h"
#include "ops/reference/weight.h"

namespace rill::conformance {
namespace {

constexpr double kU = 0x1p-24;
constexpr double kDenormal = 0x1p-149;

double Attribute(const Case& c, const std::string& name) {
  const auto found = c.attributes.find(name);
  return found == c.attributes.end() ? 0 : found->second;
}

const std::vector<float>* Find(const Case& c, const Instance& instance, const std::string& name) {
  return c.tensors.count(name) ? &instance.Values(name) : nullptr;
}

double At(const std::vector<float>* values, size_t i) {
  return values == nullptr ? 0 : std::fabs((*values)[i]);
}

// Bounds of x W^T for rows [first, first + count) of one expert: [num_tokens, count].
std::vector<double> ProductBounds(const Case& c, const std::vector<float>& x,
                                  const std::string& weight, const std::vector<float>& decoded,
                                  size_t first, size_t count) {
  const WeightSpec& spec = c.weights.at(weight);
  const size_t cols = static_cast<size_t>(spec.cols);
  const size_t tokens = cols == 0 ? 0 : x.size() / cols;
  const double k = static_cast<double>(cols);
  bool q8 = false;
  for (const auto& part : spec.parts) {
    q8 = q8 || (c.activations == ops::ActivationMode::kQ8 &&
                (IsQuantBlock(part.dtype) || part.dtype == DType::kI8));
  }
  std::vector<double> bounds(tokens * count);
  std::vector<double> activations(cols);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t n = 0; n < count; ++n) {
      const float* w = &decoded[(first + n) * cols];
      double products = 0, sum = 0, largest = 0;
      for (size_t i = 0; i < cols; ++i) {
        const double a = std::fabs(x[t * cols + i]);
        products += a * std::fabs(w[i]);
        sum += a;
        largest = std::max<double>(largest, std::fabs(w[i]));
      }
      // Codes round |x| up by at most half a step of max|x| / 127: 2 covers it.
      bounds[t * count + n] = q8 ? (k / 8 + 8) * kU * 2 * sum * 3 * largest : k * kU * products;
    }
  }
  return bounds;
}

std::vector<double> Linear(const Case& c, const Instance& instance, const Output& y) {
  const auto decoded = instance.Decoded("w");
  const size_t n = decoded.size() / static_cast<size_t>(c.weights.at("w").cols);
  auto bounds = ProductBounds(c, instance.Values("x"), "w", decoded, 0, n);
  const double scale = std::fabs(Attribute(c, "scale"));
  const auto* bias = Find(c, instance, "bias");
  const auto* residual = Find(c, instance, "residual");
  for (size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] = scale * bounds[i] +
                4 * kU * (std::fabs(y.values[i]) + At(residual, i) + scale * At(bias, i % n)) +
                kDenormal;
  }
  return bounds;
}

// best: as wrong as the most that a logit of its row can be. best_id: random logits lie farther
// apart than that.
std::vector<double> Logits(const Case& c, const Instance& instance, const Output& output) {
  std::vector<double> bounds(output.values.size());
  if (output.param == "best_id") return bounds;
  const auto decoded = instance.Decoded("w");
  const size_t n = decoded.size() / static_cast<size_t>(c.weights.at("w").cols);
  const auto products = ProductBounds(c, instance.Values("x"), "w", decoded, 0, n);
  const double scale = std::fabs(Attribute(c, "scale"));
  const auto* bias = Find(c, instance, "bias");
  const auto bound = [&](size_t t, size_t i, double value) {
    return scale * products[t * n + i] + 4 * kU * (std::fabs(value) + scale * At(bias, i)) +
           kDenormal;
  };
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (output.param == "y") {
      bounds[i] = bound(i / n, i % n, output.values[i]);
      continue;
    }
    for (size_t j = 0; j < n; ++j) {
      bounds[i] = std::max(bounds[i], bound(i, j, output.values[i]));
    }
  }
  return bounds;
}

std::vector<double> Norm(const Case& c, const Instance& instance, const Output& y, bool centred,
                         bool skip) {
  const auto& x = instance.Values("x");
  const auto shape = c.tensors.at("x").shape;
  const size_t size = static_cast<size_t>(shape.back());
  const auto* weight = Find(c, instance, "weight");
  const auto* bias = Find(c, instance, "bias");
  const size_t weights = weight ? weight->size() : 1;
  const double n = static_cast<double>(size);
  std::vector<double> bounds(y.values.size());
  for (size_t row = 0; row < (size == 0 ? 0 : x.size() / size); ++row) {
    double sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < size; ++i) {
      const double v =
          double{x[row * size + i]} + (skip ? instance.Values("skip")[row * size + i] : 0.0f);
      sum += v;
      squares += v * v;
      largest = std::max(largest, std::fabs(v));
    }
    const double mean = centred ? sum / n : 0;
    const double deviation =
        std::sqrt(std::max(0.0, squares / n - mean * mean) + Attribute(c, "eps"));
    for (size_t i = 0; i < size; ++i) {
      const size_t at = row * size + i;
      const double w =
          weight ? At(weight, at % weights) + std::fabs(Attribute(c, "weight_bias")) : 1;
      const double relative = (n / 16 + 12) * kU;
      bounds[at] =
          relative * (std::fabs(y.values[at]) + 2 * At(bias, bias ? at % bias->size() : 0));
      // An offset of the mean moves every element, and the deviation with it.
      if (centred) bounds[at] += 3 * relative * w * largest / deviation;
      bounds[at] += kDenormal;
    }
  }
  return bounds;
}

std::vector<double> Attention(const Case& c, const Instance& instance, const Output& y) {
  const PagedKvView& kv = instance.Kv();
  const KvLayout& layout = kv.layout;
  const auto& q = instance.Values("q");
  const auto shape = c.tensors.at("q").shape;
  const int32_t heads = static_cast<int32_t>(shape[1]);
  const int32_t layer = static_cast<int32_t>(Attribute(c, "layer"));
  const double softcap = Attribute(c, "softcap");
  const auto* slopes = Find(c, instance, "alibi_slopes");
  const auto* sinks = Find(c, instance, "sinks");
  std::vector<double> bounds(y.values.size());
  for (int32_t s = 0; s < kv.num_seqs; ++s) {
    for (int32_t t = kv.q_offsets[s]; t < kv.q_offsets[s + 1]; ++t) {
      for (int32_t h = 0; h < heads; ++h) {
        const float* row = &q[static_cast<size_t>(t * heads + h) * static_cast<size_t>(shape[2])];
        double score = At(sinks, static_cast<size_t>(h)), largest = 0;
        for (int32_t p = 0; p < kv.kv_lens[s]; ++p) {
          using namespace ops::reference;
          const KvPlace place = FindPlace(kv, s, p, layer, h / (heads / layout.num_kv_heads));
          const std::vector<float> key = ReadKey(layout, place);
          double products = 0;
          for (size_t d = 0; d < key.size(); ++d) products += std::fabs(row[d] * key[d]);
          score = std::max(score, products * std::fabs(Attribute(c, "score_scale")));
          for (float v : ReadValue(layout, place))
            largest = std::max<double>(largest, std::fabs(v));
        }
        double ds = (layout.k_dim + 8) * kU * score;
        if (softcap > 0) ds += 8 * kU * softcap;
        ds += 4 * kU * At(slopes, static_cast<size_t>(h)) * kv.kv_lens[s];
        const double bound = (2 * ds + (kv.kv_lens[s] + 24) * kU) * largest + kDenormal;
        for (int32_t d = 0; d < layout.v_dim; ++d) {
          bounds[static_cast<size_t>((t * heads + h) * layout.v_dim + d)] = bound;
        }
      }
    }
  }
  return bounds;
}

// Normed rows of x, in f64, and by how much an f32 norm may miss them; x itself without a norm.
struct NormedInput {
  std::vector<float> values;
  std::vector<double> wrong;
};
NormedInput NormedInputOf(const Case& c, const Instance& instance, size_t size) {
  NormedInput out{instance.Values("x"), {}};
  out.wrong.assign(out.values.size(), 0.0);
  const auto kind = static_cast<ops::InputNorm>(static_cast<int>(Attribute(c, "norm")));
  if (kind == ops::InputNorm::kNone) return out;
  const bool centred = kind == ops::InputNorm::kLayer;
  const auto* weight = Find(c, instance, "norm_weight");
  const auto* bias = Find(c, instance, "norm_bias");
  const double n = static_cast<double>(size), relative = (n / 16 + 12) * kU;
  for (size_t row = 0; row < out.values.size() / size; ++row) {
    float* x = &out.values[row * size];
    double sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < size; ++i) {
      sum += x[i];
      largest = std::max<double>(largest, std::fabs(x[i]));
    }
    const double mean = centred ? sum / n : 0;
    for (size_t i = 0; i < size; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double deviation = std::sqrt(squares / n + Attribute(c, "eps"));
    for (size_t i = 0; i < size; ++i) {
      const double w = weight ? (*weight)[i] + Attribute(c, "weight_bias") : 1;
      const double normed = (x[i] - mean) / deviation * w + (bias ? (*bias)[i] : 0);
      out.wrong[row * size + i] = relative * (std::fabs(normed) + 2 * At(bias, i)) + kDenormal;
      if (centred) out.wrong[row * size + i] += 3 * relative * std::fabs(w) * largest / deviation;
      x[i] = static_cast<float>(normed);
    }
  }
  return out;
}

// What an error of the inputs does to the products with one row of a weight. With q8 it may also
// move an element to the neighbouring code.
double Carried(const float* w, const float* x, const double* wrong, size_t cols, bool q8) {
  double largest = 0, sum = 0;
  for (size_t k = 0; k < cols; ++k) largest = std::max<double>(largest, std::fabs(x[k]));
  for (size_t k = 0; k < cols; ++k) {
    const double code = q8 && wrong[k] > 0 ? largest / 127 : 0;
    sum += std::fabs(w[k]) * (wrong[k] + code);
  }
  return sum;
}

std::vector<double> Gated(const Case& c, const Instance& instance, const Output& y) {
  const auto decoded = instance.Decoded("w");
  const size_t cols = static_cast<size_t>(c.weights.at("w").cols);
  const size_t size = decoded.size() / cols / 2;
  const NormedInput normed = NormedInputOf(c, instance, cols);
  const std::vector<float>& x = normed.values;
  auto gate = ProductBounds(c, x, "w", decoded, 0, size);
  auto up = ProductBounds(c, x, "w", decoded, size, size);
  if (Attribute(c, "norm") != 0) {
    const bool q8 = c.activations == ops::ActivationMode::kQ8;
    for (size_t i = 0; i < gate.size(); ++i) {
      const float* row = &x[i / size * cols];
      const double* wrong = &normed.wrong[i / size * cols];
      gate[i] += Carried(&decoded[i % size * cols], row, wrong, cols, q8);
      up[i] += Carried(&decoded[(size + i % size) * cols], row, wrong, cols, q8);
    }
  }
  const auto* bias = Find(c, instance, "bias");
  std::vector<double> bounds(y.values.size());
  for (size_t i = 0; i < bounds.size(); ++i) {
    const size_t t = i / size, n = i % size;
    double g = At(bias, n), u = At(bias, size + n);
    for (size_t k = 0; k < cols; ++k) {
      g += std::fabs(x[t * cols + k] * decoded[n * cols + k]);
      u += std::fabs(x[t * cols + k] * decoded[(size + n) * cols + k]);
    }
    // Absolute sums stand for |g| and |u|; in q8 mode each may grow by the codes' rounding.
    g *= 1.1;
    u *= 1.1;
    const double slope = 2 * std::max(1.0, g);
    bounds[i] = slope * (gate[i] + 2 * kU * g) * u + slope * g * (up[i] + 2 * kU * u) +
                8 * kU * std::max(g, g * g) * u + kDenormal;
  }
  return bounds;
}

std::vector<double> NormLinear(const Case& c, const Instance& instance, const Output& y) {
  const auto decoded = instance.Decoded("w");
  const size_t cols = static_cast<size_t>(c.weights.at("w").cols), n = decoded.size() / cols;
  const NormedInput x = NormedInputOf(c, instance, cols);
  auto bounds = ProductBounds(c, x.values, "w", decoded, 0, n);
  const bool q8 = c.activations == ops::ActivationMode::kQ8;
  const auto* bias = Find(c, instance, "bias");
  for (size_t i = 0; i < bounds.size(); ++i) {
    const size_t row = i / n * cols;
    bounds[i] += Carried(&decoded[i % n * cols], &x.values[row], &x.wrong[row], cols, q8) +
                 4 * kU * (std::fabs(y.values[i]) + At(bias, i % n)) + kDenormal;
  }
  return bounds;
}

std::vector<double> GatedFfn(const Case& c, const Instance& instance, const Output& y) {
  const auto gate_up = instance.Decoded("gate_up");
  const auto down = instance.Decoded("down");
  const bool q8 = c.activations == ops::ActivationMode::kQ8;
  const size_t hidden = static_cast<size_t>(c.weights.at("gate_up").cols);
  const size_t size = static_cast<size_t>(c.weights.at("down").cols);
  const NormedInput x = NormedInputOf(c, instance, hidden);
  const auto error = ProductBounds(c, x.values, "gate_up", gate_up, 0, 2 * size);
  const auto* bias = Find(c, instance, "gate_up_bias");
  const auto* down_bias = Find(c, instance, "down_bias");
  const auto* residual = Find(c, instance, "residual");
  const double scale = std::fabs(Attribute(c, "scale"));
  std::vector<double> bounds(y.values.size());
  for (size_t t = 0; t < y.values.size() / hidden; ++t) {
    const float* row = &x.values[t * hidden];
    std::vector<double> value(size), wrong(size);
    double largest = 0;
    for (size_t i = 0; i < size; ++i) {
      double sums[2], errors[2];
      for (size_t part = 0; part < 2; ++part) {
        const size_t n = part * size + i;
        const float* w = &gate_up[n * hidden];
        sums[part] = At(bias, n);
        for (size_t k = 0; k < hidden; ++k) sums[part] += 1.1 * std::fabs(row[k] * w[k]);
        errors[part] = error[t * 2 * size + n] + 2 * kU * sums[part] +
                       Carried(w, row, &x.wrong[t * hidden], hidden, q8);
      }
      const double slope = 2 * std::max(1.0, sums[0]);
      value[i] = std::max(sums[0], sums[0] * sums[0]) * sums[1];
      wrong[i] = slope * (errors[0] * sums[1] + sums[0] * errors[1]) + 16 * kU * value[i];
      largest = std::max(largest, value[i]);
    }
    for (size_t n = 0; n < hidden; ++n) {
      double bound = 0, products = 0;
      for (size_t i = 0; i < size; ++i) {
        const double w = std::fabs(down[n * size + i]);
        bound += w * (wrong[i] + (q8 ? largest / 127 : 0));
        products += w * value[i];
      }
      bound += (static_cast<double>(size) + 8) * kU * 3 * products;
      const size_t at = t * hidden + n;
      bounds[at] =
          scale * bound +
          8 * kU * (std::fabs(y.values[at]) + At(residual, at) + scale * At(down_bias, n)) +
          kDenormal;
    }
  }
  return bounds;
}

std::vector<double> MoeFfn(const Case& c, const Instance& instance, const Output& y) {
  const auto& x = instance.Values("x");
  const auto gate_up = instance.Decoded("gate_up");
  const auto down = instance.Decoded("down");
  const bool q8 = c.activations == ops::ActivationMode::kQ8;
  const size_t hidden = static_cast<size_t>(c.weights.at("gate_up").cols);
  const size_t size = static_cast<size_t>(c.weights.at("down").cols);
  const size_t rows = Attribute(c, "ungated") != 0 ? size : 2 * size;
  const auto& ids = instance.Values("expert_ids");
  const auto& factors = instance.Values("expert_weights");
  const size_t tokens = x.size() / hidden, top_k = tokens ? ids.size() / tokens : 0;
  std::vector<double> bounds(y.values.size());
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t j = 0; j < top_k; ++j) {
      const size_t e = static_cast<size_t>(ids[t * top_k + j]);
      const std::vector<float> token(&x[t * hidden], &x[t * hidden] + hidden);
      const auto error = ProductBounds(c, token, "gate_up", gate_up, e * rows, rows);
      std::vector<double> value(size), wrong(size);
      double largest = 0;
      for (size_t i = 0; i < size; ++i) {
        double sums[2] = {0, 1};
        for (size_t part = 0; part < rows / size; ++part) {
          sums[part] = 0;
          for (size_t k = 0; k < hidden; ++k) {
            sums[part] +=
                1.1 * std::fabs(token[k] * gate_up[(e * rows + part * size + i) * hidden + k]);
          }
        }
        const double slope = 2 * std::max(1.0, sums[0]);
        const double up_error = rows > size ? error[size + i] : 0;
        value[i] = std::max(sums[0], sums[0] * sums[0]) * sums[1];
        wrong[i] = slope * (error[i] * sums[1] + sums[0] * up_error) + 16 * kU * value[i];
        largest = std::max(largest, value[i]);
      }
      for (size_t n = 0; n < hidden; ++n) {
        double bound = 0, products = 0;
        for (size_t i = 0; i < size; ++i) {
          const double w = std::fabs(down[(e * hidden + n) * size + i]);
          bound += w * (wrong[i] + (q8 ? largest / 127 : 0));
          products += w * value[i];
        }
        bound += (static_cast<double>(size) + 8) * kU * 3 * products;
        bounds[t * hidden + n] += std::fabs(factors[t * top_k + j]) * bound;
      }
    }
    for (size_t n = 0; n < hidden; ++n) {
      bounds[t * hidden + n] += 8 * kU * std::fabs(y.values[t * hidden + n]) + kDenormal;
    }
  }
  return bounds;
}

std::vector<double> Elementwise(const Case& c, const Instance& instance, const Output& y) {
  std::vector<double> bounds(y.values.size());
  for (size_t i = 0; i < bounds.size(); ++i) {
    double scale = std::fabs(y.values[i]);
    if (c.op == ops::OpId::kActivation) scale += At(&instance.Values("x"), i);
    if (c.op == ops::OpId::kGlu) {
      scale += At(&instance.Values("gate"), i) * At(&instance.Values("up"), i);
    }
    bounds[i] = 8 * kU * scale + kDenormal;
    // A denormal f(gate) is off by up to two steps before up multiplies it.
    if (c.op == ops::OpId::kGlu) bounds[i] += 2 * kDenormal * At(&instance.Values("up"), i);
    // So is x / cap before cap multiplies it.
    if (c.op == ops::OpId::kSoftcap) bounds[i] += 2 * kDenormal * Attribute(c, "cap");
    // 1 ulp of a value of up to `magnitude`, and its product.
    if (c.op == ops::OpId::kRopeAngles) bounds[i] = 4 * kU * scale + 0x1p-40;
  }
  return bounds;
}

}  // namespace

Bounds BoundsOf(const Case& c, const Instance& instance, const std::vector<Output>& outputs) {
  Bounds bounds;
  for (const Output& output : outputs) {
    std::vector<double> zero(output.values.size(), 0.0);
    switch (c.op) {
      case ops::OpId::kActivation:
      case ops::OpId::kGlu:
      case ops::OpId::kRopeAngles:
      case ops::OpId::kSoftcap: bounds.push_back(Elementwise(c, instance, output)); break;
      case ops::OpId::kLayerNorm:
      case ops::OpId::kRmsNorm:
        bounds.push_back(Norm(c, instance, output, c.op == ops::OpId::kLayerNorm, false));
        break;
      case ops::OpId::kSkipLayerNorm:
      case ops::OpId::kSkipRmsNorm:
        bounds.push_back(output.param == "h"
                             ? zero
                             : Norm(c, instance, output, c.op == ops::OpId::kSkipLayerNorm, true));
        break;
      case ops::OpId::kLinear: bounds.push_back(Linear(c, instance, output)); break;
      case ops::OpId::kLinearGlu: bounds.push_back(Gated(c, instance, output)); break;
      case ops::OpId::kLogits: bounds.push_back(Logits(c, instance, output)); break;
      case ops::OpId::kNormLinear: bounds.push_back(NormLinear(c, instance, output)); break;
      case ops::OpId::kGatedFfn: bounds.push_back(GatedFfn(c, instance, output)); break;
      case ops::OpId::kMoeFfn: bounds.push_back(MoeFfn(c, instance, output)); break;
      case ops::OpId::kMoeRoute:
        for (size_t i = 0; i < zero.size() && output.param == "expert_weights"; ++i) {
          zero[i] = 32 * kU * std::fabs(output.values[i]) + 0x1p-100;
        }
        bounds.push_back(zero);
        break;
      case ops::OpId::kPagedAttention: bounds.push_back(Attention(c, instance, output)); break;
      default: bounds.push_back(zero);
    }
  }
  return bounds;
}

}  // namespace rill::conformance
