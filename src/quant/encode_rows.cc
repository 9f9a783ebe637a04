#include "quant/encode_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "quant/quantize.h"
#include "quant/view_rows.h"

namespace rill::quant {
namespace {

class W8Rows final : public RowReader {
 public:
  explicit W8Rows(std::shared_ptr<const RowReader> rows)
      : RowReader(DType::kI8, rows->num_experts(), rows->rows(), rows->cols()),
        rows_(std::move(rows)) {}

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
            float* scales) const override {
    std::vector<float> row(static_cast<size_t>(cols()));
    for (int64_t r = 0; r < count; ++r) {
      DecodeRow(*rows_, expert, begin + r, row.data());
      scales[r] = QuantizeRowI8(row.data(), cols(), reinterpret_cast<int8_t*>(out) + r * cols());
    }
  }

 private:
  std::shared_ptr<const RowReader> rows_;
};

class W4Rows final : public RowReader {
 public:
  bool symmetric() const override { return true; }
  W4Rows(DType dtype, std::shared_ptr<const RowReader> rows)
      : RowReader(dtype, rows->num_experts(), rows->rows(), rows->cols()), rows_(std::move(rows)) {}

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out, float*) const override {
    std::vector<float> row(static_cast<size_t>(cols()));
    const int64_t row_bytes = *RowBytes(dtype(), cols());
    const int64_t num_blocks = cols() / Traits(dtype()).block_weights;
    const int64_t group = Traits(dtype()).block_weights;
    for (int64_t r = 0; r < count; ++r, out += row_bytes) {
      DecodeRow(*rows_, expert, begin + r, row.data());
      std::vector<int64_t> bad;  // blocks that encoders do not take
      for (int64_t b = 0; b < num_blocks; ++b) {
        float* first = row.data() + b * group;
        if (std::all_of(first, first + group, [](float w) { return std::fabs(w) <= 1e30f; })) {
          continue;
        }
        bad.push_back(b);
        std::fill_n(first, group, 0.0f);
      }
      switch (dtype()) {
        case DType::kU4G128: EncodeU4G128(row.data(), num_blocks, out); break;
        case DType::kU4G64: EncodeU4G64(row.data(), num_blocks, out); break;
        default: EncodeU4G32(row.data(), num_blocks, out); break;
      }
      for (int64_t b : bad) {
        constexpr uint16_t kNan = 0x7E00;
        std::memcpy(out + b * Traits(dtype()).block_bytes, &kNan, 2);
      }
    }
  }

 private:
  std::shared_ptr<const RowReader> rows_;
};

}  // namespace

Result<std::shared_ptr<const RowReader>> MakeW8Rows(std::shared_ptr<const RowReader> rows) {
  if (rows->cols() > kMaxW8Columns) {
    return Unsupported("int8 per row: expected at most " + std::to_string(kMaxW8Columns) +
                       " columns, got " + std::to_string(rows->cols()));
  }
  return std::shared_ptr<const RowReader>(std::make_shared<W8Rows>(std::move(rows)));
}

Result<std::shared_ptr<const RowReader>> MakeW4Rows(std::shared_ptr<const RowReader> rows) {
  const int64_t k = rows->cols();
  if (k % 32 != 0) {
    return Unsupported("4-bit groups: expected rows of a multiple of 32, got " + std::to_string(k));
  }
  const DType dtype = k % 128 == 0 ? DType::kU4G128 : k % 64 == 0 ? DType::kU4G64 : DType::kU4G32;
  return std::shared_ptr<const RowReader>(std::make_shared<W4Rows>(dtype, std::move(rows)));
}

}  // namespace rill::quant
