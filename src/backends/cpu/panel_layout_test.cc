// Packed bytes: restored from an earlier load, or packed, they are the same; and they are those
// that kPanelLayoutVersion names.
#include "backends/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "backends/cpu/cpu_backend.h"
#include "quant/encode_rows.h"
#include "quant/random_weights.h"
#include "quant/view_rows.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rill::cpu {
namespace {

constexpr int64_t kRows = 40, kCols = 512;

std::vector<uint8_t> Weights(DType dtype) {
  std::vector<uint8_t> bytes(static_cast<size_t>(*RowBytes(dtype, kCols) * kRows));
  EXPECT_TRUE(quant::FillRandom(dtype, kRows * kCols, 0.1f, 1, bytes.data()).ok());
  return bytes;
}

std::unique_ptr<ops::PackedWeight> Pack(ops::WeightSource source,
                                        const ops::PackedBytes* packed = nullptr) {
  static const auto backend = MakeCpuBackend({.num_threads = 2, .cpu_isa = {}});
  source.name = "w";
  source.packed = packed;
  auto weight = (*backend)->PackWeight(source);
  EXPECT_TRUE(weight.ok()) << weight.status().ToString();
  return std::move(*weight);
}

std::string Bytes(const ops::PackedWeight& weight) {
  const auto bytes = weight.packed_data();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class KeptBytes final : public ops::PackedBytes {
 public:
  explicit KeptBytes(std::string bytes, int64_t fails_at = -1)
      : bytes_(std::move(bytes)), fails_at_(fails_at) {}
  int64_t size_bytes() const override { return static_cast<int64_t>(bytes_.size()); }
  bool Read(int64_t begin, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_.data() + begin, out.size());
    return begin != fails_at_;
  }

 private:
  std::string bytes_;
  int64_t fails_at_;
};

TEST(PackedWeight, Restored_TakesTheBytes) {
  const std::vector<uint8_t> rows = Weights(DType::kQ4_K);
  ops::WeightSource source;
  source.parts = {TensorView(rows.data(), DType::kQ4_K, Shape{kRows, kCols})};
  const std::string packed = Bytes(*Pack(source));
  ASSERT_FALSE(packed.empty());
  std::string other = packed;
  for (char& byte : other) byte = static_cast<char>(byte ^ 0x55);
  const KeptBytes kept(other);
  EXPECT_EQ(Bytes(*Pack(source, &kept)), other);
}

TEST(PackedWeight, BytesThatCannotBeRead_ArePacked) {
  // Several pieces, so that some are there when one is not.
  const std::vector<float> values(1'000'000, 0.5f);
  ops::WeightSource source;
  source.parts = {TensorView(values.data(), DType::kF32, Shape{1000, 1000})};
  const std::string packed = Bytes(*Pack(source));
  for (int64_t at = 0; at < static_cast<int64_t>(packed.size());
       at += ops::PackedBytes::kPieceBytes) {
    const KeptBytes kept(std::string(packed.size(), 'x'), at);
    EXPECT_EQ(Bytes(*Pack(source, &kept)), packed) << at;
  }
  const KeptBytes shorter(packed.substr(1)), longer(packed + '\0'), nothing("");
  EXPECT_EQ(Bytes(*Pack(source, &shorter)), packed);
  EXPECT_EQ(Bytes(*Pack(source, &longer)), packed);
  EXPECT_EQ(Bytes(*Pack(source, &nothing)), packed);
}

// When this fails, panels that an earlier build kept are no longer what this build would make:
// raise kPanelLayoutVersion (exec_format.h) and put the new hashes here.
TEST(PanelLayout, Version_NamesTheBytes) {
  ASSERT_EQ(kPanelLayoutVersion, 1);
  std::map<std::string, uint64_t> got;
  const auto add = [&](const std::string& name, const ops::WeightSource& source) {
    const std::string bytes = Bytes(*Pack(source));
    got[name] = XXH3_64bits(bytes.data(), bytes.size());
  };
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
        DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K,
        DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS}) {
    if (!quant::CanFill(dtype)) continue;
    const std::vector<uint8_t> rows = Weights(dtype);
    ops::WeightSource source;
    source.parts = {TensorView(rows.data(), dtype, Shape{kRows, kCols})};
    add(std::string(DTypeName(dtype)), source);
  }
  const std::vector<uint8_t> rows = Weights(DType::kF32);
  const TensorView view(rows.data(), DType::kF32, Shape{kRows, kCols});
  for (const bool w8 : {true, false}) {
    auto plain = quant::MakeViewRows({view});
    auto made = w8 ? quant::MakeW8Rows(std::move(plain)) : quant::MakeW4Rows(std::move(plain));
    ASSERT_TRUE(made.ok());
    ops::WeightSource source;
    source.parts = {
        TensorView(static_cast<const void*>(nullptr), (*made)->dtype(), Shape{kRows, kCols})};
    source.readers = {*made};
    add(w8 ? "w8a8" : "w4g128", source);
  }
  const std::map<std::string, uint64_t> expected = {
#include "backends/cpu/panel_layout_golden.inc"
  };
  for (const auto& [name, hash] : got) {
    const auto at = expected.find(name);
    EXPECT_TRUE(at != expected.end() && at->second == hash)
        << std::hex << "    {\"" << name << "\", 0x" << hash << "},";
  }
}

}  // namespace
}  // namespace rill::cpu
