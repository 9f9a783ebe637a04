#include "server/http/trace_context.h"

#include <gtest/gtest.h>

#include <string>

namespace rill::server {
namespace {

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kParent = "b7ad6b7169203331";

std::string Join(const std::string& version, const std::string& trace, const std::string& parent,
                 const std::string& flags) {
  return version + "-" + trace + "-" + parent + "-" + flags;
}

TEST(TraceContext, ValidOnes_GiveTheTraceId) {
  for (const char* flags : {"00", "01", "ff"}) {
    EXPECT_EQ(TraceIdOf(Join("00", kTrace, kParent, flags)), kTrace);
  }
  // Later versions: the same four parts, and more after a '-'.
  EXPECT_EQ(TraceIdOf(Join("cc", kTrace, kParent, "01")), kTrace);
  EXPECT_EQ(TraceIdOf(Join("01", kTrace, kParent, "01-what-the-future-brings")), kTrace);
  EXPECT_EQ(TraceIdOf(Join("fe", kTrace, kParent, "01-")), kTrace);
}

// The cases of the W3C's own validation suite, as far as one field goes.
TEST(TraceContext, OthersAreIgnored) {
  const std::string zeros32(32, '0'), zeros16(16, '0');
  std::string upper = kTrace, dotted = kTrace;
  upper[1] = 'A';
  dotted[0] = '.';
  for (const std::string& bad : {
           std::string(),
           std::string("00"),
           std::string(55, '0'),
           std::string(55, '-'),
           Join("ff", kTrace, kParent, "01"),             // forbidden
           Join("ff", kTrace, kParent, "01-x"),           //
           Join("0A", kTrace, kParent, "01"),             // upper case
           Join("00", upper, kParent, "01"),              //
           Join("00", kTrace, "B7ad6b7169203331", "01"),  //
           Join("00", kTrace, kParent, "0F"),             //
           Join("00", zeros32, kParent, "01"),            // no ids
           Join("00", kTrace, zeros16, "01"),             //
           Join("cc", zeros32, kParent, "01"),            //
           Join("00", dotted, kParent, "01"),             // no digits
           Join(".0", kTrace, kParent, "01"),             //
           Join("00", kTrace, "b7ad6b716920333.", "01"),  //
           Join("00", kTrace, kParent, ".0"),             //
           Join("00", kTrace.substr(1), kParent, "01"),   // lengths
           Join("00", kTrace + "0", kParent, "01"),       //
           Join("00", kTrace, kParent.substr(1), "01"),   //
           Join("00", kTrace, kParent, "1"),              //
           Join("00", kTrace, kParent, "001"),            //
           Join("00", kTrace, kParent, "01-more"),        // version 00 has four parts
           Join("00", kTrace, kParent, "01."),            //
           Join("01", kTrace, kParent, "01.more"),        // a later one: '-' or the end
           Join("01", kTrace, kParent, "011"),            //
           "00_" + kTrace + "-" + kParent + "-01",
           "00-" + kTrace + "_" + kParent + "-01",
           "00-" + kTrace + "-" + kParent + "_01",
           " " + Join("00", kTrace, kParent, "01"),
       }) {
    EXPECT_EQ(TraceIdOf(bad), "") << bad;
  }
}

}  // namespace
}  // namespace rill::server
