#include "base/json.h"

#include <gtest/gtest.h>

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

TEST(Json, TypedReads_NeverCoerce) {
  auto json = Json::Parse(R"({"s":"7","i":7,"d":7.5,"n":null})", "test");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->GetInt("i", 0).value(), 7);
  EXPECT_EQ(json->GetInt("n", 3).value(), 3);
  EXPECT_EQ(json->GetInt("s", 0).status().message(), "s: expected integer, got string");
  EXPECT_FALSE(json->GetInt("d", 0).ok());
  EXPECT_EQ(json->GetDouble("i", 0).value(), 7.0);
}

}  // namespace
}  // namespace rill
