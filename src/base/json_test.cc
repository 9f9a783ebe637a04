#include "base/json.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/testing.h"

namespace rill {
namespace {

TEST(Json, Parse_KeepsOrderTypesAndRoundTrips) {
  const std::string text =
      R"({"b":[1,-2,18446744073709551615,0.5,1e300],"a":{"x":null,"y":true},"s":"é\n\"\\"})";
  auto json = Json::Parse(text, "test");
  ASSERT_TRUE(json.ok()) << json.status().ToString();
  EXPECT_EQ(json->object()[0].first, "b");
  EXPECT_FALSE(json->Find("b")->array()[2].FitsInt64());
  EXPECT_TRUE(json->Find("b")->array()[2].is_int());
  auto again = Json::Parse(json->Dump(), "again");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->Dump(2), json->Dump(2));
}

TEST(Json, Parse_RejectsWhatIsNotStrictJson) {
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "nan", "\xEF\xBB\xBF{}", "[1] x",
                          "\"\xFF\"", "'a'", "{\"a\" 1}", "01"}) {
    EXPECT_FALSE(Json::Parse(bad, "bad").ok()) << bad;
  }
  EXPECT_FALSE(Json::Parse(std::string(65, '[') + std::string(65, ']'), "deep").ok());
  EXPECT_FALSE(Json::Parse("[1,2,3]", "big", {.max_bytes = 3}).ok());
}

TEST(Json, Numbers_KeepTheirTypeAndValue) {
  for (const char* text : {"18446744073709551615", "9223372036854775808", "-9223372036854775808",
                           "1.0", "-0.0", "1e+300", "0.1", "5e-324"}) {
    auto json = Json::Parse(text, "t");
    ASSERT_TRUE(json.ok()) << json.status().ToString();
    EXPECT_EQ(json->Dump(), text);
  }
  EXPECT_EQ(Json::Parse("18446744073709551615", "t")->uint_value(), UINT64_MAX);
}

// Real tokenizer_config.json files have an integer of 31 digits.
TEST(Json, IntegersBeyond64Bits_AreDoubles) {
  auto json = Json::Parse(
      R"({"model_max_length": 1000000000000000019884624838656, "s": "99999999999999999999 \" 1",
          "a": [18446744073709551616, -9223372036854775809, 18446744073709551615]})",
      "t");
  ASSERT_TRUE(json.ok()) << json.status().ToString();
  EXPECT_TRUE(json->Find("model_max_length")->is_double());
  EXPECT_EQ(json->GetDouble("model_max_length", 0).value(), 1e30);
  EXPECT_FALSE(json->GetInt("model_max_length", 0).ok());
  EXPECT_EQ(json->GetString("s", "").value(), "99999999999999999999 \" 1");
  EXPECT_EQ(json->Find("a")->array()[0].number_value(), 0x1p64);
  EXPECT_EQ(json->Find("a")->array()[2].uint_value(), UINT64_MAX);
  for (const char* bad : {"1e400", "-1e400", "0123456789012345678901", "-", "1.2.3",
                          "99999999999999999999999x", "1000000000000000000000000,"}) {
    EXPECT_FALSE(Json::Parse(bad, "t").ok()) << bad;
  }
}

TEST(Json, MoreNodesThanTheLimit_AreRefused) {
  EXPECT_TRUE(Json::Parse("[1,2,3]", "t", {.max_nodes = 4}).ok());
  EXPECT_FALSE(Json::Parse("[1,2,3]", "t", {.max_nodes = 3}).ok());
}

TEST(Json, TypedReads_NeverCoerce) {
  auto json = Json::Parse(R"({"s":"7","i":7,"d":7.5,"n":null})", "test");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->GetInt("i", 0).value(), 7);
  EXPECT_EQ(json->GetInt("n", 3).value(), 3);
  EXPECT_EQ(json->GetInt("s", 0).status().message(), "s: expected integer, got string");
  EXPECT_FALSE(json->GetInt("d", 0).ok());
  EXPECT_EQ(json->GetDouble("i", 0).value(), 7.0);
}

// Every y_ file must parse, every n_ file must be refused; i_ files may do either, without harm.
TEST(Json, JsonTestSuite_AllCases) {
  RILL_SHARED_DATA_OR_SKIP(folder, "conformance/jsontestsuite");
  int num_files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".json") || name.size() < 2 || name[1] != '_') continue;
    ++num_files;
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    // The suite allows any depth and duplicate keys.
    const auto json =
        Json::Parse(text.str(), name, {.max_depth = 1024, .allow_duplicate_keys = true});
    if (name[0] == 'y') {
      EXPECT_TRUE(json.ok()) << json.status().ToString();
    }
    if (name[0] == 'n') {
      EXPECT_FALSE(json.ok()) << name;
    }
  }
  EXPECT_GE(num_files, 100);
}

}  // namespace
}  // namespace rill
