#include "quant/gptq.h"

#include <algorithm>
#include <array>
#include <string>

#include "quant/block_io.h"
#include "quant/grouped_rows.h"

namespace rill::quant {
namespace {

// A word of zero points of half the range, at 4 and 8 bits.
uint32_t Centre(const GptqTensors& t) {
  const uint32_t ones = t.bits == 4 ? 0x11111111u : 0x01010101u;
  const uint32_t half = t.bits == 4 ? 8 : 128;
  return ones * half - (t.zeros_minus_one ? ones : 0);
}

bool AllWordsAre(const TensorView& words, uint32_t want) {
  const auto* data = reinterpret_cast<const uint8_t*>(words.data);
  for (int64_t i = 0; i < words.shape.NumElements(); ++i) {
    if (LoadBlock<uint32_t>(data, i) != want) return false;
  }
  return true;
}

// 32 zero points of 3 bits.
using Int3Words = std::array<uint32_t, 3>;
constexpr Int3Words kSubtracted = {0x24924924u, 0x92492492u, 0x49249249u};  // Int3Zeros::kWords
constexpr Int3Words kFieldsOfFour = {0xDB6DB6DBu, 0xB6DB6DB6u, 0x6DB6DB6Du};
constexpr Int3Words kWordsOfFour = {0x24924924u - kSubtracted[0], 0x49249249u - kSubtracted[1],
                                    0x92492492u - kSubtracted[2]};

bool AllWordsAre(const TensorView& words, const Int3Words& want) {
  const auto* data = reinterpret_cast<const uint8_t*>(words.data);
  for (int64_t i = 0; i < words.shape.NumElements(); ++i) {
    if (LoadBlock<uint32_t>(data, i) != want[static_cast<size_t>(i % 3)]) return false;
  }
  return true;
}

// Chance does not make the words of a matrix of fours: 96 bits of each 32 rows.
Int3Zeros FindInt3Zeros(const GptqTensors& t) {
  if (AllWordsAre(t.qzeros, kWordsOfFour)) return Int3Zeros::kWords;
  if (AllWordsAre(t.qzeros, kFieldsOfFour)) return Int3Zeros::kFields;
  return t.int3_zeros;
}

class GptqRows final : public GroupedRows {
 public:
  GptqRows(GroupedBlocks blocks, const GptqTensors& t, Int3Zeros int3_zeros,
           std::vector<int32_t> order)
      : GroupedRows(std::move(blocks), t.rows, t.scales),
        qweight_(reinterpret_cast<const uint8_t*>(t.qweight.data)),
        qzeros_(reinterpret_cast<const uint8_t*>(t.qzeros.data)),
        bits_(t.bits),
        minus_one_(t.zeros_minus_one),
        int3_zeros_(int3_zeros),
        symmetric_(t.bits == 4 && AllWordsAre(t.qzeros, Centre(t))),
        order_(std::move(order)) {}

  std::span<const int32_t> Order(int64_t) const override { return order_; }
  bool symmetric() const override { return symmetric_; }

 private:
  // Word `w` of the packed axis for row n.
  uint32_t Word(int64_t w, int64_t n) const {
    return LoadBlock<uint32_t>(qweight_, w * rows() + n);
  }

  void ReadCodes(int64_t b, int64_t begin, int64_t count, uint32_t* words) const override {
    const int64_t first = b * blocks().block;
    const int64_t num_words = blocks().block * bits_ / 32;
    if (order_.empty()) {  // the words of the checkpoint
      const int64_t word = first * bits_ / 32;
      for (int64_t w = 0; w < num_words; ++w) {
        for (int64_t r = 0; r < count; ++r) words[w * kRowsAtOnce + r] = Word(word + w, begin + r);
      }
      return;
    }
    std::fill_n(words, num_words * kRowsAtOnce, 0u);
    const uint32_t mask = (1u << bits_) - 1;
    for (int64_t i = 0; i < blocks().block; ++i) {
      const int64_t from = order_[static_cast<size_t>(first + i)] * int64_t{bits_};
      const int64_t to = i * bits_;
      const int from_shift = static_cast<int>(from % 32), to_shift = static_cast<int>(to % 32);
      uint32_t* out = words + to / 32 * kRowsAtOnce;
      for (int64_t r = 0; r < count; ++r) {
        uint32_t code = Word(from / 32, begin + r) >> from_shift;
        // Only 3-bit codes cross words.
        if (from_shift + bits_ > 32) code |= Word(from / 32 + 1, begin + r) << (32 - from_shift);
        code &= mask;
        out[r] |= code << to_shift;
        if (to_shift + bits_ > 32) out[kRowsAtOnce + r] |= code >> (32 - to_shift);
      }
    }
  }

  int Zero(int64_t group, int64_t row) const override {
    const int64_t row_words = rows() * bits_ / 32;
    const int64_t bit = row * bits_;
    const int64_t w = group * row_words + bit / 32;
    const int shift = static_cast<int>(bit % 32);
    const uint32_t mask = (1u << bits_) - 1;
    uint32_t word = LoadBlock<uint32_t>(qzeros_, w);
    if (bits_ == 3) {
      // Rows come in 32s, so a row of qzeros in threes of words.
      const bool add_to_words = minus_one_ && int3_zeros_ == Int3Zeros::kWords;
      if (add_to_words) word += kSubtracted[static_cast<size_t>(w % 3)];
      uint32_t code = word >> shift;
      if (shift + 3 > 32) {
        uint32_t next = LoadBlock<uint32_t>(qzeros_, w + 1);
        if (add_to_words) next += kSubtracted[static_cast<size_t>((w + 1) % 3)];
        code |= next << (32 - shift);
      }
      return static_cast<int>((code + (minus_one_ && !add_to_words ? 1 : 0)) & mask);
    }
    if (minus_one_) word += bits_ == 2 ? 0x55555555u : bits_ == 4 ? 0x11111111u : 0x01010101u;
    return static_cast<int>((word >> shift) & mask);
  }

  const uint8_t* qweight_;
  const uint8_t* qzeros_;
  int bits_;
  bool minus_one_;
  Int3Zeros int3_zeros_;
  bool symmetric_;
  std::vector<int32_t> order_;
};

}  // namespace

Result<std::shared_ptr<const RowReader>> MakeGptqRows(const GptqTensors& t) {
  RILL_RETURN_IF_ERROR(CheckScales(t.scales).WithPrefix("scales"));
  Int3Zeros int3_zeros = t.int3_zeros;
  if (t.bits == 3 && t.zeros_minus_one) {
    int3_zeros = FindInt3Zeros(t);
    if (int3_zeros == Int3Zeros::kUnknown) {
      return Unsupported(
          "qzeros: zero points that are not all 4, of 3 bits in format gptq, which GPTQModel "
          "before "
          "6.1 wrote in another way: the configuration's meta.quantizer does not say which it is");
    }
  }
  const bool is_signed = t.bits == 8 && AllWordsAre(t.qzeros, Centre(t));
  std::vector<int32_t> order;
  GroupedBlocks blocks;
  if (t.g_idx.empty()) {
    auto cut = CutEvenGroups(t.bits, is_signed, t.cols, t.group_size);
    if (!cut.ok()) return cut.status().WithPrefix("qweight");
    blocks = std::move(*cut);
  } else {
    const auto num_groups = t.scales.dim(0);
    const auto* g_idx = reinterpret_cast<const uint8_t*>(t.g_idx.data);
    std::vector<int64_t> counts(static_cast<size_t>(num_groups));
    bool sorted = true;
    for (int64_t k = 0; k < t.cols; ++k) {
      const auto g = LoadBlock<int32_t>(g_idx, k);
      if (g < 0 || g >= num_groups) {
        return InvalidArgument("g_idx: element " + std::to_string(k) +
                               ": expected a group in [0, " + std::to_string(num_groups) +
                               "), got " + std::to_string(g));
      }
      ++counts[static_cast<size_t>(g)];
      sorted = sorted && (k == 0 || LoadBlock<int32_t>(g_idx, k - 1) <= g);
    }
    for (size_t g = 0; g < counts.size(); ++g) {
      if (counts[g] > 0) continue;
      return InvalidArgument("g_idx: expected columns in each of the " +
                             std::to_string(num_groups) + " groups, got none in group " +
                             std::to_string(g));
    }
    auto cut = CutGroups(t.bits, is_signed, counts);
    if (!cut.ok()) return cut.status().WithPrefix("g_idx");
    blocks = std::move(*cut);
    if (!sorted) {
      std::vector<int64_t> next(counts.size());
      for (size_t g = 1; g < counts.size(); ++g) next[g] = next[g - 1] + counts[g - 1];
      order.resize(static_cast<size_t>(t.cols));
      for (int64_t k = 0; k < t.cols; ++k) {
        const auto g = static_cast<size_t>(LoadBlock<int32_t>(g_idx, k));
        order[static_cast<size_t>(next[g]++)] = static_cast<int32_t>(k);
      }
    }
  }
  return std::shared_ptr<const RowReader>(
      std::make_shared<GptqRows>(std::move(blocks), t, int3_zeros, std::move(order)));
}

}  // namespace rill::quant
