#include "quant/view_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "quant/dequant.h"

namespace rill::quant {
namespace {

class ViewRows final : public RowReader {
 public:
  ViewRows(std::vector<TensorView> experts, bool transposed)
      : RowReader(experts[0].dtype, static_cast<int64_t>(experts.size()),
                  experts[0].dim(transposed ? 1 : 0), experts[0].dim(transposed ? 0 : 1)),
        experts_(std::move(experts)),
        transposed_(transposed) {
    CHECK(!transposed || !IsQuantBlock(dtype()));
  }

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out, float*) const override {
    const TensorView& view = experts_[static_cast<size_t>(expert)];
    const DTypeTraits& traits = Traits(view.dtype);
    const int64_t stride = view.stride(0) / traits.block_weights * traits.block_bytes;
    const int64_t row_bytes = *RowBytes(view.dtype, cols());
    if (!transposed_) {
      for (int64_t r = 0; r < count; ++r) {
        std::memcpy(out + r * row_bytes, view.data + (begin + r) * stride,
                    static_cast<size_t>(row_bytes));
      }
      return;
    }
    const int64_t size = traits.block_bytes;
    for (int64_t k = 0; k < cols(); ++k) {
      const std::byte* from = view.data + k * stride + begin * size;
      for (int64_t r = 0; r < count; ++r) {
        std::memcpy(out + r * row_bytes + k * size, from + r * size, static_cast<size_t>(size));
      }
    }
  }

 private:
  std::vector<TensorView> experts_;
  bool transposed_;
};

class TurnedRows final : public RowReader {
 public:
  explicit TurnedRows(const TensorView& view)
      : RowReader(DType::kF32, 1, view.dim(0) * view.dim(2), view.dim(1)), view_(view) {}

  void Read(int64_t, int64_t begin, int64_t count, uint8_t* out, float*) const override {
    const int64_t n = view_.dim(2), line_bytes = *RowBytes(view_.dtype, n);
    std::vector<float> line(static_cast<size_t>(n));
    for (int64_t head = begin / n; head * n < begin + count; ++head) {
      const int64_t first = std::max(begin, head * n);
      const int64_t last = std::min(begin + count, (head + 1) * n);
      for (int64_t k = 0; k < cols(); ++k) {
        const Status decoded = DequantizeRow(
            view_.dtype, view_.data + (head * cols() + k) * line_bytes, n, line.data());
        CHECK(decoded.ok()) << decoded.message();
        for (int64_t row = first; row < last; ++row) {
          std::memcpy(out + ((row - begin) * cols() + k) * 4,
                      &line[static_cast<size_t>(row - head * n)], 4);
        }
      }
    }
  }

 private:
  TensorView view_;
};

class StackedRows final : public RowReader {
 public:
  explicit StackedRows(std::vector<std::shared_ptr<const RowReader>> experts)
      : RowReader(experts[0]->dtype(), static_cast<int64_t>(experts.size()), experts[0]->rows(),
                  experts[0]->cols()),
        experts_(std::move(experts)) {}

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
            float* scales) const override {
    experts_[static_cast<size_t>(expert)]->Read(0, begin, count, out, scales);
  }
  std::span<const int32_t> Order(int64_t expert) const override {
    return experts_[static_cast<size_t>(expert)]->Order(0);
  }
  bool symmetric() const override {
    return std::all_of(experts_.begin(), experts_.end(),
                       [](const auto& expert) { return expert->symmetric(); });
  }

 private:
  std::vector<std::shared_ptr<const RowReader>> experts_;
};

class RowSlice final : public RowReader {
 public:
  RowSlice(std::shared_ptr<const RowReader> rows, int64_t begin, int64_t count)
      : RowReader(rows->dtype(), rows->num_experts(), count, rows->cols()),
        rows_(std::move(rows)),
        begin_(begin) {
    CHECK(begin >= 0 && count > 0 && begin + count <= rows_->rows());
  }

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
            float* scales) const override {
    rows_->Read(expert, begin_ + begin, count, out, scales);
  }
  std::span<const int32_t> Order(int64_t expert) const override { return rows_->Order(expert); }
  bool symmetric() const override { return rows_->symmetric(); }

 private:
  std::shared_ptr<const RowReader> rows_;
  int64_t begin_;
};

class F32Rows final : public RowReader {
 public:
  F32Rows(std::shared_ptr<const RowReader> rows, bool unit)
      : RowReader(DType::kF32, rows->num_experts(), rows->rows(), rows->cols()),
        rows_(std::move(rows)),
        unit_(unit) {}

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out, float*) const override {
    std::vector<float> stored(static_cast<size_t>(cols())), row(stored.size());
    const std::span<const int32_t> order = rows_->Order(expert);
    for (int64_t r = 0; r < count; ++r) {
      DecodeRow(*rows_, expert, begin + r, stored.data());
      if (order.empty()) {
        row.swap(stored);
      } else {
        for (size_t i = 0; i < row.size(); ++i) row[static_cast<size_t>(order[i])] = stored[i];
      }
      if (unit_) {
        double sum = 0;
        for (float value : row) sum += static_cast<double>(value) * value;
        const float length = std::max(static_cast<float>(std::sqrt(sum)), 1e-12f);
        for (float& value : row) value /= length;
      }
      std::memcpy(out + r * cols() * 4, row.data(), row.size() * sizeof(float));
    }
  }

 private:
  std::shared_ptr<const RowReader> rows_;
  bool unit_;
};

}  // namespace

std::shared_ptr<const RowReader> MakeViewRows(std::vector<TensorView> experts, bool transposed) {
  CHECK(!experts.empty());
  return std::make_shared<ViewRows>(std::move(experts), transposed);
}
std::shared_ptr<const RowReader> MakeTurnedRows(const TensorView& view) {
  return std::make_shared<TurnedRows>(view);
}
std::shared_ptr<const RowReader> MakeStackedRows(
    std::vector<std::shared_ptr<const RowReader>> experts) {
  CHECK(!experts.empty());
  return std::make_shared<StackedRows>(std::move(experts));
}
std::shared_ptr<const RowReader> MakeRowSlice(std::shared_ptr<const RowReader> rows, int64_t begin,
                                              int64_t count) {
  return std::make_shared<RowSlice>(std::move(rows), begin, count);
}
std::shared_ptr<const RowReader> MakeDecodedRows(std::shared_ptr<const RowReader> rows) {
  return std::make_shared<F32Rows>(std::move(rows), false);
}
std::shared_ptr<const RowReader> MakeUnitRows(std::shared_ptr<const RowReader> rows) {
  return std::make_shared<F32Rows>(std::move(rows), true);
}

void DecodeRow(const RowReader& rows, int64_t expert, int64_t row, float* out) {
  const auto bytes = RowBytes(rows.dtype(), rows.cols());
  CHECK(bytes.has_value());
  std::vector<uint8_t> stored(static_cast<size_t>(*bytes));
  float scale = 1.0f;
  rows.Read(expert, row, 1, stored.data(), &scale);
  const Status decoded = DequantizeRow(rows.dtype(), stored.data(), rows.cols(), out);
  CHECK(decoded.ok()) << decoded.message();
  if (rows.dtype() == DType::kI8) {
    for (int64_t i = 0; i < rows.cols(); ++i) out[i] *= scale;
  }
}

}  // namespace rill::quant
