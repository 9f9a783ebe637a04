#include "quant/awq.h"

#include <algorithm>

#include "quant/block_io.h"
#include "quant/grouped_rows.h"

namespace rill::quant {
namespace {

// Where the nibble of row 8j + c is.
constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// 8 x 8 nibbles: afterwards nibble i of words[p] is what nibble p of words[i] was. Three rounds of
// swaps (halves, bytes, nibbles), 1.1 operations a nibble.
void TransposeNibbles(uint32_t words[8]) {
  const auto swap = [&](int a, int b, int shift, uint32_t low) {
    const uint32_t t = ((words[a] >> shift) ^ words[b]) & low;
    words[a] ^= t << shift;
    words[b] ^= t;
  };
  for (int i = 0; i < 4; ++i) swap(i, i + 4, 16, 0x0000FFFFu);
  for (int i : {0, 1, 4, 5}) swap(i, i + 2, 8, 0x00FF00FFu);
  for (int i : {0, 2, 4, 6}) swap(i, i + 1, 4, 0x0F0F0F0Fu);
}

class AwqRows final : public GroupedRows {
 public:
  AwqRows(GroupedBlocks blocks, const AwqTensors& t)
      : GroupedRows(std::move(blocks), t.rows, t.scales),
        qweight_(reinterpret_cast<const uint8_t*>(t.qweight.data)),
        qzeros_(reinterpret_cast<const uint8_t*>(t.qzeros.data)) {}

 private:
  void ReadCodes(int64_t b, int64_t begin, int64_t count, uint32_t* words) const override {
    const int64_t row_words = rows() / 8;
    for (int64_t i = 0; i < blocks().block; i += 8) {
      uint32_t* out = words + i / 8 * kRowsAtOnce;
      const int64_t k = b * blocks().block + i;
      for (int64_t j = begin / 8; j * 8 < begin + count; ++j) {
        uint32_t square[8];
        for (int64_t d = 0; d < 8; ++d) {
          square[d] = LoadBlock<uint32_t>(qweight_, (k + d) * row_words + j);
        }
        TransposeNibbles(square);
        const int64_t first = std::max(begin, j * 8), last = std::min(begin + count, j * 8 + 8);
        for (int64_t row = first; row < last; ++row) out[row - begin] = square[kNibble[row % 8]];
      }
    }
  }

  int Zero(int64_t group, int64_t row) const override {
    const uint32_t word = LoadBlock<uint32_t>(qzeros_, group * (rows() / 8) + row / 8);
    return static_cast<int>((word >> (4 * kNibble[row % 8])) & 15u);
  }

  const uint8_t* qweight_;
  const uint8_t* qzeros_;
};

}  // namespace

Result<std::shared_ptr<const RowReader>> MakeAwqRows(const AwqTensors& t) {
  RILL_RETURN_IF_ERROR(CheckScales(t.scales).WithPrefix("scales"));
  auto blocks = CutEvenGroups(4, false, t.cols, t.group_size);
  if (!blocks.ok()) return blocks.status().WithPrefix("qweight");
  return std::shared_ptr<const RowReader>(std::make_shared<AwqRows>(std::move(*blocks), t));
}

}  // namespace rill::quant
