#include "io/gguf_writer.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "io/gguf.h"

namespace rill::io {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void PutText(std::string& out, std::string_view text) {
  Put(out, uint64_t{text.size()});
  out += text;
}

void PutKey(std::string& out, std::string_view key, GgufType type) {
  PutText(out, key);
  Put(out, static_cast<uint32_t>(type));
}

void PutArray(std::string& out, std::string_view key, GgufType type, size_t size) {
  PutKey(out, key, GgufType::kArray);
  Put(out, static_cast<uint32_t>(type));
  Put(out, uint64_t{size});
}

}  // namespace

void GgufWriter::Add(std::string_view key, std::string_view text) {
  PutKey(pairs_, key, GgufType::kString);
  PutText(pairs_, text);
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, uint32_t value) {
  PutKey(pairs_, key, GgufType::kU32);
  Put(pairs_, value);
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, float value) {
  PutKey(pairs_, key, GgufType::kF32);
  Put(pairs_, value);
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, bool value) {
  PutKey(pairs_, key, GgufType::kBool);
  Put(pairs_, static_cast<uint8_t>(value));
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, std::span<const std::string> texts) {
  PutArray(pairs_, key, GgufType::kString, texts.size());
  for (const std::string& text : texts) PutText(pairs_, text);
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, std::span<const float> values) {
  PutArray(pairs_, key, GgufType::kF32, values.size());
  for (float value : values) Put(pairs_, value);
  ++num_pairs_;
}
void GgufWriter::Add(std::string_view key, std::span<const int32_t> values) {
  PutArray(pairs_, key, GgufType::kI32, values.size());
  for (int32_t value : values) Put(pairs_, value);
  ++num_pairs_;
}

void GgufWriter::AddTensor(std::string_view name, const std::vector<int64_t>& dims, DType dtype) {
  CHECK(Traits(dtype).gguf_type >= 0 && !dims.empty()) << name;
  const auto row_bytes = RowBytes(dtype, dims.back());
  CHECK(row_bytes) << name;
  PutText(infos_, name);
  Put(infos_, static_cast<uint32_t>(dims.size()));
  int64_t bytes = *row_bytes;
  for (size_t i = dims.size(); i-- > 0;) {  // innermost first in the file
    Put(infos_, static_cast<uint64_t>(dims[i]));
    if (i + 1 < dims.size()) bytes *= dims[i];
  }
  Put(infos_, static_cast<uint32_t>(Traits(dtype).gguf_type));
  Put(infos_, static_cast<uint64_t>(next_offset_));
  offsets_.push_back(next_offset_);
  sizes_.push_back(bytes);
  next_offset_ = (next_offset_ + bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::string GgufWriter::Header() const {
  std::string out = "GGUF";
  Put(out, uint32_t{3});
  Put(out, uint64_t{offsets_.size()});
  Put(out, num_pairs_);
  out += pairs_ + infos_;
  const auto padded = (out.size() + kAlignment - 1) / kAlignment * kAlignment;
  out.resize(padded, '\0');
  return out;
}

}  // namespace rill::io
