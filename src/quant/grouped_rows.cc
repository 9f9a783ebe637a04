#include "quant/grouped_rows.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <string>

#include "base/float_types.h"
#include "quant/dequant.h"
#include "quant/grouped.h"

namespace rill::quant {
namespace {

constexpr int kMaxBlock = 128;

}  // namespace

DType GroupedBlocks::dtype() const {
  return is_signed ? DType::kQ8_0 : GroupedDType(bits, block);
}

Result<GroupedBlocks> CutGroups(int bits, bool is_signed, const std::vector<int64_t>& counts) {
  GroupedBlocks out;
  out.bits = bits;
  out.is_signed = is_signed;
  out.block = is_signed ? 32 : kMaxBlock;
  for (size_t g = 0; g < counts.size(); ++g) {
    while (out.block > 16 && counts[g] % out.block != 0) out.block /= 2;
    if (out.block < 32) {
      return Unsupported("group " + std::to_string(g) + " has " + std::to_string(counts[g]) +
                         " columns, no multiple of 32");
    }
  }
  for (size_t g = 0; g < counts.size(); ++g) {
    out.groups.insert(out.groups.end(), static_cast<size_t>(counts[g] / out.block),
                      static_cast<int32_t>(g));
  }
  return out;
}

Result<GroupedBlocks> CutEvenGroups(int bits, bool is_signed, int64_t cols, int64_t group_size) {
  if (group_size <= 0 || group_size > cols) group_size = cols;
  std::vector<int64_t> counts(static_cast<size_t>(cols / group_size), group_size);
  if (cols % group_size != 0) counts.push_back(cols % group_size);
  return CutGroups(bits, is_signed, counts);
}

Status CheckScales(const TensorView& scales) {
  if (scales.dtype == DType::kF16) return OkStatus();
  const int64_t count = scales.shape.NumElements();
  const int64_t size = Traits(scales.dtype).block_bytes;
  for (int64_t i = 0; i < count; ++i) {
    float scale = 0;
    RILL_RETURN_IF_ERROR(DequantizeRow(scales.dtype, scales.data + i * size, 1, &scale));
    if (!std::isnan(scale) && F16ToF32(F32ToF16(scale)) != scale) {
      char digits[32];  // as few as tell it from other f32
      const auto end = std::to_chars(digits, digits + sizeof digits, scale).ptr;
      return Unsupported(
          "element " + std::to_string(i) + ": expected a number that f16 holds exactly, got " +
          std::string(digits, end) + " (" + std::string(DTypeName(scales.dtype)) + ")");
    }
  }
  return OkStatus();
}

GroupedRows::GroupedRows(GroupedBlocks blocks, int64_t rows, const TensorView& scales)
    : RowReader(blocks.dtype(), 1, rows, static_cast<int64_t>(blocks.groups.size()) * blocks.block),
      blocks_(std::move(blocks)),
      scales_(scales) {}

void GroupedRows::Read(int64_t, int64_t begin, int64_t count, uint8_t* out, float*) const {
  const int num_words = blocks_.block * blocks_.bits / 32;
  const int64_t block_bytes = Traits(dtype()).block_bytes;
  const auto num_blocks = static_cast<int64_t>(blocks_.groups.size());
  const int64_t row_bytes = num_blocks * block_bytes;
  const int64_t scale_bytes = Traits(scales_.dtype).block_bytes;
  uint32_t words[kMaxBlock / 4 * kRowsAtOnce];
  for (int64_t r0 = 0; r0 < count; r0 += kRowsAtOnce) {
    const int64_t n = std::min<int64_t>(kRowsAtOnce, count - r0);
    for (int64_t b = 0; b < num_blocks; ++b) {
      ReadCodes(b, begin + r0, n, words);
      const int64_t group = blocks_.groups[static_cast<size_t>(b)];
      for (int64_t r = 0; r < n; ++r) {
        const int64_t row = begin + r0 + r;
        uint8_t* block = out + (r0 + r) * row_bytes + b * block_bytes;
        const std::byte* scale = scales_.data + (group * rows() + row) * scale_bytes;
        uint16_t half;
        if (scales_.dtype == DType::kF16) {
          std::memcpy(&half, scale, 2);
        } else {
          float value = 0;
          const Status decoded = DequantizeRow(scales_.dtype, scale, 1, &value);
          DCHECK(decoded.ok());
          half = F32ToF16(value);
        }
        std::memcpy(block, &half, 2);
        block += 2;
        if (!blocks_.is_signed) {
          const auto zero = static_cast<int16_t>(Zero(group, row));
          std::memcpy(block, &zero, 2);
          block += 2;
        }
        const uint32_t flip = blocks_.is_signed ? 0x80808080u : 0;
        for (int w = 0; w < num_words; ++w, block += 4) {
          const uint32_t word = words[w * kRowsAtOnce + r] ^ flip;
          std::memcpy(block, &word, 4);
        }
      }
    }
  }
}

}  // namespace rill::quant
