#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "io/test_files.h"

namespace rill::io {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::Put;
using testing::Safetensors;
using testing::TempFolder;

const char kTwo[] =
    R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"__metadata__":{"format":"pt"}})";

Status Parse(const std::string& bytes) {
  TensorDirectory tensors;
  return ParseSafetensors(Bytes(bytes), "m.safetensors", tensors);
}

void ExpectError(const std::string& bytes, const std::string& word,
                 StatusCode code = StatusCode::kInvalidArgument) {
  const Status status = Parse(bytes);
  ASSERT_FALSE(status.ok()) << "accepted; expected: " << word;
  EXPECT_EQ(status.code(), code);
  EXPECT_THAT(status.message(), ::testing::StartsWith("m.safetensors: "));
  EXPECT_THAT(status.message(), HasSubstr(word));
}

std::string One(const std::string& entry, size_t data_bytes) {
  return Safetensors("{\"w\":" + entry + "}", data_bytes);
}

TEST(Safetensors, GoodFile_GivesViewsIntoTheBytes) {
  const std::string bytes = Safetensors(kTwo, 22);
  TensorDirectory tensors;
  ASSERT_TRUE(ParseSafetensors(Bytes(bytes), "m", tensors).ok());
  const TensorEntry* b = tensors.Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->view.dtype, DType::kBF16);
  EXPECT_EQ(b->view.shape, (Shape{3}));
  EXPECT_EQ(std::memcmp(b->view.data, bytes.data() + bytes.size() - 6, 6), 0);
}

TEST(Safetensors, EveryDType_IsRead) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, int>>{{"F64", 8},
                                                                           {"F32", 4},
                                                                           {"F16", 2},
                                                                           {"BF16", 2},
                                                                           {"I64", 8},
                                                                           {"I32", 4},
                                                                           {"I16", 2},
                                                                           {"I8", 1},
                                                                           {"U8", 1},
                                                                           {"BOOL", 1},
                                                                           {"F8_E4M3", 1},
                                                                           {"F8_E5M2", 1}}) {
    const std::string bytes = One("{\"dtype\":\"" + name + "\",\"shape\":[3],\"data_offsets\":[0," +
                                      std::to_string(3 * size) + "]}",
                                  static_cast<size_t>(3 * size));
    TensorDirectory tensors;
    const Status status = ParseSafetensors(Bytes(bytes), "m", tensors);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(Traits(tensors.Find("w")->view.dtype).block_bytes, size);
  }
}

// Data at an odd address (early writers did not pad the header) are copied to an even one.
TEST(Safetensors, OddAddresses_AreAlignedByCopying) {
  for (size_t pad = 0; pad < 8; ++pad) {
    const std::string bytes = Safetensors(kTwo + std::string(pad, ' '), 22);
    TensorDirectory tensors;
    ASSERT_TRUE(ParseSafetensors(Bytes(bytes), "m", tensors).ok());
    for (const TensorEntry& entry : tensors.entries()) {
      const auto size = static_cast<uintptr_t>(Traits(entry.view.dtype).block_bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(entry.view.data) % size, 0u);
      const size_t at = bytes.size() - 22 + (entry.name == "b" ? 16 : 0);
      EXPECT_EQ(std::memcmp(entry.view.data, bytes.data() + at,
                            static_cast<size_t>(entry.view.SizeBytes())),
                0);
    }
  }
}

// A8
TEST(Safetensors, BadHeaders_AreRefused) {
  const int64_t before = testing::PeakMemoryBytes();
  // Process time, not wall time: other tests may run beside this one.
  const std::clock_t start = std::clock();
  ExpectError("", "the header's length alone has 8");
  for (uint64_t lie : {uint64_t{100}, uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string bytes;
    Put(bytes, lie);
    ExpectError(bytes + "{}", "header length at byte 0: " + std::to_string(lie));
  }
  ExpectError(Safetensors("[]", 0), "must begin with '{'");
  ExpectError(Safetensors(" {}", 0), "must begin with '{'");
  ExpectError(Safetensors("{", 0), "not valid JSON");
  ExpectError(Safetensors("{\"a\":\xFF}", 0), "not valid JSON");
  ExpectError(
      Safetensors("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", 0),
      "JSON");
  ExpectError(Safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                          R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                          1),
              "duplicate JSON key \"a\"");
  ExpectError(Safetensors(R"({"__metadata__":{"a":1}})", 0), "__metadata__");
  // A zip archive whose bytes are hidden behind the tensors.
  ExpectError(Safetensors(kTwo, 22) + "PK\x03\x04", "4 bytes after the last tensor's data");
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 1.0);
  EXPECT_LT(testing::PeakMemoryBytes() - before, 16 << 20);
}

TEST(Safetensors, BadTensors_AreRefused) {
  ExpectError(One(R"({"dtype":"U8","shape":[2],"data_offsets":[0,3]})", 3),
              "needs 2 bytes, data_offsets give 3");
  ExpectError(One(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4), "needs 8 bytes");
  ExpectError(One(R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]})", 1), "end at byte 2 of 1");
  ExpectError(One(R"({"dtype":"U8","shape":[1],"data_offsets":[1,2]})", 2), "there is a hole");
  ExpectError(One(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})", 2), "0 <= begin <= end");
  ExpectError(One(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})", 1),
              "dimension 0 is not a size");
  ExpectError(One(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})", 1),
              "dimension 0 is not a size");
  ExpectError(One(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]})", 1),
              "overflows");
  ExpectError(One(R"({"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,0]})", 0),
              "overflows");
  // No bytes, but strides beyond 64 bits.
  ExpectError(One(R"({"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]})", 0),
              "overflows");
  ExpectError(One(R"({"dtype":"U8","shape":[4611686018427387904,0,4],"data_offsets":[0,0]})", 0),
              "overflows");
  ExpectError(One(R"({"dtype":"U8","shape":[0,4],"data_offsets":[0,4]})", 4),
              "needs 0 bytes, data_offsets give 4");
  ExpectError(One(R"({"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,1]})", 1),
              "not a size");
  ExpectError(One(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]})", 1),
              "9 dimensions, limit 8");
  ExpectError(One(R"({"dtype":"U8","shape":[1,1,1,1,1],"data_offsets":[0,1]})", 1),
              "5 dimensions are not supported; supported: at most 4", StatusCode::kUnsupported);
  ExpectError(One(R"({"dtype":"F4","shape":[1],"data_offsets":[0,1]})", 1),
              "supported: F64 F32 F16", StatusCode::kUnsupported);
  ExpectError(One(R"({"dtype":"U8","shape":[1]})", 1), "expected exactly");
  ExpectError(One(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1})", 1),
              "expected exactly");
  ExpectError(One(R"("U8")", 1), "expected an object");
  ExpectError(Safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                          R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                          3),
              "overlap");
  ExpectError(Safetensors(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
              "needs a name");
  ExpectError(Safetensors("{\"" + std::string(4097, 'n') +
                              R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                          1),
              "limit 4096");
}

// A6: exhaustive.
TEST(Safetensors, TruncatedAtEveryByte_IsAnError) {
  const std::string whole = Safetensors(kTwo, 22);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Parse(std::string(whole.data(), size)).ok()) << size;
  }
}

TEST(Safetensors, EveryBitFlipOfTheHeader_IsAnErrorOrAnotherModel) {
  const std::string whole = Safetensors(kTwo, 22);
  const auto dump = [](const TensorDirectory& tensors) {
    std::string out;
    for (const TensorEntry& entry : tensors.entries()) {
      out += entry.name + std::string(DTypeName(entry.view.dtype)) + entry.view.shape.ToString();
      out.append(reinterpret_cast<const char*>(entry.view.data),
                 static_cast<size_t>(entry.view.SizeBytes()));
    }
    return out;
  };
  TensorDirectory original;
  ASSERT_TRUE(ParseSafetensors(Bytes(whole), "m", original).ok());
  // A flip inside __metadata__ (free text, which Rill does not read) or one that makes it a
  // tensor's name leaves the tensors as they were; the reference reader accepts it, too.
  const size_t metadata = whole.find("\"__metadata__\"");
  for (size_t bit = 0; bit < (whole.size() - 22) * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    TensorDirectory tensors;
    if (!ParseSafetensors(Bytes(flipped), "m", tensors).ok() || bit / 8 >= metadata) continue;
    EXPECT_NE(dump(tensors), dump(original)) << "bit " << bit;
  }
}

class SafetensorsIndex : public ::testing::Test {
 protected:
  // shard "m-1.safetensors" has a and b; the index says `shard` for b.
  Status Open(const std::string& shard) {
    folder_.Write("m-1.safetensors", Safetensors(kTwo, 22));
    const std::string index =
        folder_.Write("m.safetensors.index.json",
                      "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"" + shard + "\"}}");
    TensorDirectory tensors;
    return OpenSafetensorsIndex(index, {}, tensors);
  }
  TempFolder folder_;
};

TEST_F(SafetensorsIndex, GoodIndex_Opens) {
  const Status status = Open("m-1.safetensors");
  EXPECT_TRUE(status.ok()) << status.ToString();
}

// A9
TEST_F(SafetensorsIndex, ShardsOutsideTheFolder_AreRefused) {
  TempFolder outside;
  const std::string target = outside.Write("x.safetensors", Safetensors(kTwo, 22));
  std::filesystem::create_symlink(target, folder_ / "link.safetensors");
  std::filesystem::create_symlink(
      "../" + std::filesystem::path(outside.path()).filename().string() + "/x.safetensors",
      folder_ / "relative.safetensors");
  std::filesystem::create_directory(folder_ / "sub");
  for (const std::string shard :
       {"../../etc/passwd", "/etc/passwd", "../x.safetensors", "sub/x.safetensors", "..", "",
        "m-1.bin", "a\\u0000.safetensors"}) {
    EXPECT_THAT(Open(shard).message(), HasSubstr("must be the plain name")) << shard;
  }
  for (const std::string shard : {"link.safetensors", "relative.safetensors"}) {
    EXPECT_THAT(Open(shard).message(), HasSubstr("outside the model's folder")) << shard;
  }
}

TEST_F(SafetensorsIndex, LinksInsideTheFolder_AreFollowed) {
  folder_.Write("real.safetensors",
                Safetensors(R"({"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  std::filesystem::create_symlink("real.safetensors", folder_ / "link.safetensors");
  EXPECT_THAT(Open("link.safetensors").message(),
              HasSubstr("tensor 'b': not in shard 'link.safetensors'"));
}

TEST_F(SafetensorsIndex, MissingOrDuplicateShards_AreRefused) {
  EXPECT_EQ(Open("m-2.safetensors").code(), StatusCode::kNotFound);
  folder_.Write("m-3.safetensors", Safetensors(kTwo, 22));
  EXPECT_THAT(Open("m-3.safetensors").message(), HasSubstr("duplicate tensor name 'a'"));
  TensorDirectory tensors;
  for (const char* bad :
       {"[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":{"a":1}})"}) {
    EXPECT_FALSE(OpenSafetensorsIndex(folder_.Write("bad.json", bad), {}, tensors).ok()) << bad;
  }
}

}  // namespace
}  // namespace rill::io
