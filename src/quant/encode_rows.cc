#include "quant/encode_rows.h"

#include <algorithm>
#include <bit>
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
        if (std::all_of(first, first + group, [](float w) { return std::fabs(w) < kW4Limit; })) {
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

// Whether any of `count` numbers has a magnitude of at least that of `limit`, or is no number: as
// integers without their sign they are in the order of their magnitudes.
template <typename T>
bool AnyFrom(const uint8_t* data, int64_t count, T limit) {
  constexpr T kMagnitude = static_cast<T>(~T{0}) >> 1;
  T largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    T bits;
    std::memcpy(&bits, data + i * int64_t{sizeof(T)}, sizeof bits);
    largest = std::max(largest, static_cast<T>(bits & kMagnitude));
  }
  return largest >= limit;
}

bool AnyFromW4Limit(DType dtype, const uint8_t* data, int64_t count) {
  constexpr auto kBits = std::bit_cast<uint32_t>(kW4Limit);
  switch (dtype) {
    case DType::kF32: return AnyFrom<uint32_t>(data, count, kBits);
    case DType::kBF16: return AnyFrom<uint16_t>(data, count, kBits >> 16);
    default: return true;  // looked at one by one
  }
}

}  // namespace

std::optional<LargeWeight> FindTooLargeForW4(const RowReader& rows) {
  const DType dtype = rows.dtype();
  if (dtype == DType::kF16 || dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2) return {};
  constexpr int64_t kRowsAtOnce = 16;  // what a transposed tensor has side by side
  const int64_t cols = rows.cols();
  std::vector<uint8_t> stored(static_cast<size_t>(kRowsAtOnce * *RowBytes(dtype, cols)));
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t expert = 0; expert < rows.num_experts(); ++expert) {
    for (int64_t begin = 0; begin < rows.rows(); begin += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, rows.rows() - begin);
      rows.Read(expert, begin, count, stored.data(), nullptr);
      if (!AnyFromW4Limit(dtype, stored.data(), count * cols)) continue;
      for (int64_t r = begin; r < begin + count; ++r) {
        DecodeRow(rows, expert, r, row.data());
        for (int64_t k = 0; k < cols; ++k) {
          const float w = row[static_cast<size_t>(k)];
          if (std::isfinite(w) && std::fabs(w) >= kW4Limit) return LargeWeight{expert, r, k, w};
        }
      }
    }
  }
  return {};
}

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
