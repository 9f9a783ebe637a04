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

  // Decodes logical row `row` of `expert` into out[cols()], exactly as quant/ does, in stored
  // order.
  void DecodeRow(int64_t expert, int64_t row, float* out) const;
  // Stored column i is input order[i]; empty: i.
  std::span<const int32_t> Order(int64_t expert) const;
  // Columns that share one activation scale where the row's part meets activations quantised to
  // int8 (kQ8, quantised formats); 0: f32 activations.
  int64_t ActivationGroup(int64_t row) const;

 private:
  struct Place {
    size_t part;
    int64_t row;  // inside the part
  };
  Place Find(int64_t row) const;

  std::vector<TensorView> parts_;
  std::vector<std::shared_ptr<const quant::RowReader>> readers_;  // one a part, some null
  ActivationMode activations_ = ActivationMode::kF32;
};

inline const ReferenceWeight& AsReference(const PackedWeight& weight) {
  return static_cast<const ReferenceWeight&>(weight);
}

// The int8 activations of linear.h, decoded again: out[k] = d * q[k] per `group` columns. A group
// with a value that is not finite becomes NaN throughout. The size need not be a multiple of it.
void QuantiseActivations(std::span<const float> x, size_t group, std::span<double> out);

// products[t * num_rows + i] = sum_k x[t, k] * w[expert, rows[i], k], in f64, for each token.
// x: one pointer per token, each to w.cols() values.
void Products(const ReferenceWeight& w, int64_t expert, std::span<const float* const> x,
              int64_t first_row, int64_t num_rows, std::vector<double>& products);

}  // namespace rill::ops::reference
