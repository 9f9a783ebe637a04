// ReferenceWeight: a weight that is read in place, one decoded row at a time.
#pragma once

#include <span>
#include <vector>

#include "ops/weight.h"
#include "rill/status.h"

namespace rill::ops::reference {

class ReferenceWeight final : public PackedWeight {
 public:
  // Errors: as Backend::PackWeight.
  static Result<std::unique_ptr<PackedWeight>> Make(const WeightSource& source);

  int64_t packed_bytes() const override { return 0; }
  std::string Describe() const override;

  // Decodes logical row `row` of `expert` into out[cols()], exactly as quant/ does.
  void DecodeRow(int64_t expert, int64_t row, float* out) const;
  // True when rows of this row's part meet activations quantised to int8 (kQ8, block formats).
  bool QuantisesActivations(int64_t row) const;

 private:
  struct Place {
    const TensorView* part;
    int64_t row;  // inside the part
  };
  Place Find(int64_t row) const;

  std::vector<TensorView> parts_;
  ActivationMode activations_ = ActivationMode::kF32;
};

inline const ReferenceWeight& AsReference(const PackedWeight& weight) {
  return static_cast<const ReferenceWeight&>(weight);
}

// The int8 activations of linear.h, decoded again: out[k] = d * q[k] per group of 32. A group with
// a value that is not finite becomes NaN throughout. `size` need not be a multiple of 32.
void QuantiseActivations(std::span<const float> x, std::span<double> out);

// products[t * num_rows + i] = sum_k x[t, k] * w[expert, rows[i], k], in f64, for each token.
// x: one pointer per token, each to w.cols() values.
void Products(const ReferenceWeight& w, int64_t expert, std::span<const float* const> x,
              int64_t first_row, int64_t num_rows, std::vector<double>& products);

}  // namespace rill::ops::reference
