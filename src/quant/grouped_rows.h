// What the readers of AWQ and GPTQ share: from groups of any size to blocks of one of the
// u<bits>g<B> types (quant/grouped.h) or of q8_0, 16 rows at a time. A group of several blocks
// repeats its scale.
#pragma once

#include <vector>

#include "quant/row_reader.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::quant {

// How stored columns are cut into blocks.
struct GroupedBlocks {
  int bits = 4;                 // of a code: 2, 3, 4, 8
  bool is_signed = false;       // 8 bits: all zero points are 128, codes are kept less 128
  int block = 0;                // columns
  std::vector<int32_t> groups;  // of each block
  DType dtype() const;
};
// `counts[g]` columns of group g, stored one group after another. Blocks are the largest of 128, 64
// and 32 columns that divide every group; is_signed: 32.
// Errors: kUnsupported when a group is not a multiple of 32.
Result<GroupedBlocks> CutGroups(int bits, bool is_signed, const std::vector<int64_t>& counts);
// The same for groups of `group_size` (<= 0 or more than cols: all of them) in order.
Result<GroupedBlocks> CutEvenGroups(int bits, bool is_signed, int64_t cols, int64_t group_size);

// Errors: kUnsupported when f16 cannot hold one of them exactly.
Status CheckScales(const TensorView& scales);

class GroupedRows : public RowReader {
 public:
  static constexpr int kRowsAtOnce = 16;

  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
            float* scales) const override;

 protected:
  GroupedRows(GroupedBlocks blocks, int64_t rows, const TensorView& scales);
  // Codes of block `b` of rows [begin, begin + count), count <= kRowsAtOnce:
  // words[w * kRowsAtOnce + r] holds codes [w * 32 / bits, …) of row begin + r, lowest bits first.
  virtual void ReadCodes(int64_t b, int64_t begin, int64_t count, uint32_t* words) const = 0;
  virtual int Zero(int64_t group, int64_t row) const = 0;
  const GroupedBlocks& blocks() const { return blocks_; }

 private:
  GroupedBlocks blocks_;
  TensorView scales_;  // [G, N]
};

}  // namespace rill::quant
