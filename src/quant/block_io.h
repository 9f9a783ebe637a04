// Reading and writing blocks at any address: rows of odd-sized blocks are not aligned.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace rill::quant {

template <typename Block>
Block LoadBlock(const uint8_t* blocks, int64_t index) {
  static_assert(std::is_trivially_copyable_v<Block>);
  Block block;
  std::memcpy(&block, blocks + index * static_cast<int64_t>(sizeof(Block)), sizeof(Block));
  return block;
}

template <typename Block>
void StoreBlock(const Block& block, uint8_t* blocks, int64_t index) {
  static_assert(std::is_trivially_copyable_v<Block>);
  std::memcpy(blocks + index * static_cast<int64_t>(sizeof(Block)), &block, sizeof(Block));
}

}  // namespace rill::quant
