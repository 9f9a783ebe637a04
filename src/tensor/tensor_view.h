// TensorView: typed, shaped, strided memory that somebody else owns.
//
// Shapes are outermost first (row-major), at most kMaxDims. Strides count elements; for quantised
// block types the last dimension is contiguous and the other strides are multiples of the block.
// A view is 88 bytes, trivially copyable, and never owns or frees.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "base/check.h"
#include "tensor/dtype.h"

namespace rill {

inline constexpr int kMaxDims = 4;

struct Shape {
  std::array<int64_t, kMaxDims> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> list) {
    CHECK(list.size() <= kMaxDims);
    for (int64_t d : list) dims[static_cast<size_t>(rank++)] = d;
  }
  int64_t operator[](int i) const { return dims[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims[static_cast<size_t>(i)]; }
  // Product of dims; callers validated sizes from outside with CheckedMul before making a Shape.
  int64_t NumElements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[static_cast<size_t>(i)];
    return n;
  }
  bool operator==(const Shape& other) const {
    if (rank != other.rank) return false;
    for (int i = 0; i < rank; ++i) {
      if ((*this)[i] != other[i]) return false;
    }
    return true;
  }
  // "[32, 576]"
  std::string ToString() const {
    std::string text = "[";
    for (int i = 0; i < rank; ++i) {
      if (i) text += ", ";
      text += std::to_string((*this)[i]);
    }
    return text + "]";
  }
};

template <typename Byte>  // const std::byte or std::byte
struct BasicTensorView {
  Byte* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  std::array<int64_t, kMaxDims> strides{};  // elements

  BasicTensorView() = default;
  // Contiguous view.
  BasicTensorView(void* pointer, DType type, Shape s)
    requires(!std::is_const_v<Byte>)
      : data(static_cast<Byte*>(pointer)), dtype(type), shape(s) {
    SetContiguous();
  }
  BasicTensorView(const void* pointer, DType type, Shape s)
    requires(std::is_const_v<Byte>)
      : data(static_cast<Byte*>(pointer)), dtype(type), shape(s) {
    SetContiguous();
  }
  // A mutable view reads as a const one.
  // A template, so that it is never the copy constructor of a mutable view.
  template <typename Other>
  BasicTensorView(const BasicTensorView<Other>& other)  // NOLINT: implicit
    requires(std::is_const_v<Byte> && !std::is_const_v<Other>)
      : data(other.data), dtype(other.dtype), shape(other.shape), strides(other.strides) {}

  bool empty() const { return data == nullptr; }
  int rank() const { return shape.rank; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t stride(int i) const { return strides[static_cast<size_t>(i)]; }

  // Typed pointer; CHECKs the element size.
  template <typename T>
  auto* As() const {
    using Out = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    DCHECK(static_cast<int>(sizeof(T)) == Traits(dtype).block_bytes);
    return reinterpret_cast<Out*>(data);
  }
  // Pointer to row i of the first dimension.
  template <typename T>
  auto* Row(int64_t i) const {
    return As<T>() + i * strides[0];
  }
  bool IsContiguous() const {
    int64_t expected = 1;
    for (int i = shape.rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[static_cast<size_t>(i)] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  int64_t SizeBytes() const {  // of a contiguous tensor of this shape
    return shape.NumElements() / Traits(dtype).block_weights * Traits(dtype).block_bytes;
  }

 private:
  void SetContiguous() {
    int64_t stride = 1;
    for (int i = shape.rank - 1; i >= 0; --i) {
      strides[static_cast<size_t>(i)] = stride;
      stride *= shape[i];
    }
  }
};

using TensorView = BasicTensorView<const std::byte>;
using MutableTensorView = BasicTensorView<std::byte>;
static_assert(std::is_trivially_copyable_v<TensorView>);

}  // namespace rill
