#include "server/http/head_parser.h"

#include <gtest/gtest.h>

#include "server/http/chunk_decoder.h"
#include "server/http/target.h"

namespace rill::server {
namespace {

struct Outcome {
  int status = 0;  // 0: accepted
  RequestHead head;
};

// Scans in portions of `step` bytes, then parses. 999: incomplete.
Outcome Read(const std::string& bytes, size_t step = 1 << 20) {
  HeadScanner scanner({});
  Outcome out;
  for (size_t given = std::min(step, bytes.size());; given = std::min(bytes.size(), given + step)) {
    const auto state = scanner.Scan(std::string_view(bytes).substr(0, given));
    if (state == HeadScanner::State::kBad) {
      out.status = scanner.fault().status;
      return out;
    }
    if (state == HeadScanner::State::kComplete) break;
    if (given == bytes.size()) {
      out.status = 999;
      return out;
    }
  }
  out.status =
      ParseHead(std::string_view(bytes).substr(0, scanner.head_bytes()), {}, &out.head).status;
  return out;
}

std::string Get(const std::string& fields) {
  return "GET /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}

TEST(HeadParser, PlainRequest_IsTakenApart) {
  const Outcome out = Read(
      "POST /v1/completions?a=b HTTP/1.1\r\nHost: LocalHost:8000\r\nContent-Length:  12 \r\n"
      "X-Thing:\ta b\t\r\nExpect: 100-Continue\r\n\r\n");
  ASSERT_EQ(out.status, 0);
  EXPECT_EQ(out.head.method, Method::kPost);
  EXPECT_EQ(out.head.target, "/v1/completions?a=b");
  EXPECT_EQ(out.head.host, "localhost:8000");
  EXPECT_EQ(out.head.content_length, 12u);
  EXPECT_TRUE(out.head.keep_alive);
  EXPECT_TRUE(out.head.expect_continue);
  ASSERT_EQ(out.head.fields.size(), 4u);
  EXPECT_EQ(out.head.fields[2].name, "x-thing");
  EXPECT_EQ(out.head.fields[2].value, "a b");
}

TEST(HeadParser, FieldFaults_Are400) {
  const std::string nul(1, '\0');
  for (const std::string& fields : std::vector<std::string>{
           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nContent-Length: 6\r\n",
           "Content-Length: 5, 5\r\n",
           "Content-Length: +5\r\n",
           "Content-Length: -1\r\n",
           "Content-Length: 0x5\r\n",
           "Content-Length: 5 5\r\n",
           "Content-Length:\r\n",
           "Content-Length: 99999999999999999999\r\n",
           "Transfer-Encoding: gzip\r\n",
           "Transfer-Encoding: chunked, identity\r\n",
           "Transfer-Encoding: identity\r\n",
           "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: \"chunked\"\r\n",
           "Transfer-Encoding: chunked;q=1\r\n",
           "Transfer-Encoding:\x0b"
           "chunked\r\n",
           "Transfer-Encoding : chunked\r\n",
           " Transfer-Encoding: chunked\r\n",
           "X: a\r\n folded\r\n",
           "X: a\r\n\tfolded\r\n",
           "X: a\nY: b\r\n",
           "X: a\rY: b\r\n",
           "X: a" + nul + "b\r\n",
           "X: a\x7f\r\n",
           "X\r\n",
           ": a\r\n",
           "X Y: a\r\n",
           "X(: a\r\n",
           "X\xc3\xa9: a\r\n",
           "Host: b\r\n",
           "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
           "Content-Type: a\r\nContent-Type: b\r\n",
           "Connection: close, content-length\r\n",
           "Connection: transfer-encoding\r\n",
           "Connection: a b\r\n",
           "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
       }) {
    EXPECT_EQ(Read(Get(fields)).status, 400) << fields;
    EXPECT_EQ(Read(Get(fields), 1).status, 400) << "byte by byte: " << fields;
  }
}

TEST(HeadParser, RequestLineFaults) {
  const std::pair<const char*, int> cases[] = {
      {"GET  /x HTTP/1.1\r\n", 400},      {"GET /x  HTTP/1.1\r\n", 400},
      {"GET /x HTTP/1.1 \r\n", 400},      {" GET /x HTTP/1.1\r\n", 400},
      {"GET\t/x HTTP/1.1\r\n", 400},      {"GET /x\r\n", 400},
      {"GET /x http/1.1\r\n", 400},       {"GET /x HTTP/1.2\r\n", 505},
      {"GET /x HTTP/2.0\r\n", 505},       {"GET /x HTTP/0.9\r\n", 505},
      {"GET /x HTTP/11\r\n", 400},        {"get /x HTTP/1.1\r\n", 501},
      {"BREW /x HTTP/1.1\r\n", 501},      {"TRACE /x HTTP/1.1\r\n", 405},
      {"CONNECT a:80 HTTP/1.1\r\n", 405}, {"GET x HTTP/1.1\r\n", 400},
      {"GET * HTTP/1.1\r\n", 400},        {"GET /a#b HTTP/1.1\r\n", 400},
      {"GET /a\\b HTTP/1.1\r\n", 400},    {"GET /\xff HTTP/1.1\r\n", 400},
      {"GET /%zz HTTP/1.1\r\n", 400},     {"GET /% HTTP/1.1\r\n", 400},
      {"GET ftp://a/ HTTP/1.1\r\n", 400}, {"GET http://b/ HTTP/1.1\r\n", 400},
      {"\r\nGET /x HTTP/1.1\r\n", 400},   {"\r\n", 400},
      {"PRI * HTTP/2.0\r\n", 505},        {"GET http://u@a/ HTTP/1.1\r\n", 400},
  };
  for (const auto& [line, status] : cases) {
    EXPECT_EQ(Read(std::string(line) + "Host: a\r\n\r\n").status, status) << line;
  }
  EXPECT_EQ(Read("GET http://A/x?y HTTP/1.1\r\nHost: a\r\n\r\n").head.target, "/x?y");
  EXPECT_EQ(Read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 0);
}

TEST(HeadParser, Http10_NeedsNoHostAndIsNeverKept) {
  EXPECT_EQ(Read("GET / HTTP/1.0\r\n\r\n").status, 0);
  EXPECT_FALSE(Read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").head.keep_alive);
  EXPECT_EQ(Read("GET / HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(Read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").status, 400);
}

TEST(HeadParser, HostSyntax) {
  for (const char* good : {"a", "a.b-c_d:80", "127.0.0.1:8000", "[::1]", "[2001:db8::1]:443"}) {
    EXPECT_EQ(Read("GET / HTTP/1.1\r\nHost: " + std::string(good) + "\r\n\r\n").status, 0) << good;
  }
  for (const char* bad : {"", "a b", "a@b", "a/b", "a:", "a:0", "a:99999", "a:8x", "[::1", "[g]",
                          "a,b", "::1", "http://a", "a:80:80"}) {
    EXPECT_EQ(Read("GET / HTTP/1.1\r\nHost: " + std::string(bad) + "\r\n\r\n").status, 400) << bad;
  }
}

TEST(HeadParser, Limits_AreReachedExactly) {
  const std::string start = "GET /", end = " HTTP/1.1\r\n";
  const size_t fill = (8 << 10) - start.size() - (end.size() - 2);
  EXPECT_EQ(Read(start + std::string(fill, 'a') + end + "Host: a\r\n\r\n").status, 0);
  EXPECT_EQ(Read(start + std::string(fill + 1, 'a') + end + "Host: a\r\n\r\n").status, 414);
  std::string fields;
  for (int i = 0; i < 99; ++i) fields += "a" + std::to_string(i) + ": b\r\n";
  EXPECT_EQ(Read(Get(fields)).status, 0);
  EXPECT_EQ(Read(Get(fields + "one: more\r\n")).status, 431);
  EXPECT_EQ(Read(Get("X: " + std::string(20'000, 'a') + "\r\n")).status, 0);
  EXPECT_EQ(Read(Get("X: " + std::string(33'000, 'a') + "\r\n")).status, 431);
}

TEST(HeadParser, EveryPrefix_NeedsMoreOrIsRefused) {
  const std::string bytes = Get("Content-Length: 3\r\nX: y\r\n");
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_EQ(Read(bytes.substr(0, n)).status, 999) << n;
}

TEST(Target, NormalisesOnceAndRefusesTricks) {
  EXPECT_EQ(ParseTargetPath("/v1/models/")->path, "/v1/models");
  EXPECT_EQ(ParseTargetPath("/")->path, "/");
  EXPECT_EQ(ParseTargetPath("/v1/%6dodels")->path, "/v1/models");
  const auto slash = ParseTargetPath("/v1/models/org%2Fname?x=a%20b&y=c+d&flag");
  ASSERT_TRUE(slash.ok());
  EXPECT_EQ(slash->segments, (std::vector<std::string>{"v1", "models", "org/name"}));
  EXPECT_EQ(slash->query, (NameValues{{"x", "a b"}, {"y", "c d"}, {"flag", ""}}));
  for (const char* bad :
       {"//v1/models", "/v1//models", "/v1/../models", "/v1/./models", "/%2e%2e/etc",
        "/v1/models/..%2f", "/v1/models/%2e%2e%2fx", "/a%00b", "/a%0a", "/a%5cb", "/%ff",
        "/v1/models//", "/a%2f%2fb", "/..", "/.", "/%2f"}) {
    const auto result = ParseTargetPath(bad);
    EXPECT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().code(), StatusCode::kNotFound) << bad;
  }
  // A percent sign that was encoded stays one: nothing is decoded twice.
  EXPECT_EQ(ParseTargetPath("/a%252e%252e")->path, "/a%2e%2e");
  EXPECT_FALSE(ParseTargetPath("/a?x=%00").ok());
}

// Decodes in portions; 0 and the body when complete, 999 when incomplete.
int Decode(const std::string& bytes, size_t step, std::string* body, uint64_t max_body = 1 << 20) {
  ChunkDecoder decoder(max_body, 100, 32 << 10);
  body->clear();
  for (size_t i = 0; i < bytes.size();) {
    size_t consumed = 0;
    const auto state = decoder.Decode(std::string_view(bytes).substr(i, step), &consumed, body);
    i += consumed;
    if (state == ChunkDecoder::State::kBad) return decoder.fault().status;
    if (state == ChunkDecoder::State::kComplete) return i == bytes.size() ? 0 : 1000;
  }
  return 999;
}

TEST(ChunkDecoder, DecodesHoweverBytesArrive) {
  const std::string bytes =
      "5\r\nhello\r\n1;a\r\n \r\n6;a=b;c=\"d \\\" e\"\r\nworld!\r\n00A\r\n0123456789\r\n"
      "0\r\nX-T: v\r\nAuthorization: Bearer x\r\n\r\n";
  std::string body;
  for (size_t step = 1; step <= bytes.size(); ++step) {
    ASSERT_EQ(Decode(bytes, step, &body), 0) << step;
    ASSERT_EQ(body, "hello world!0123456789");
  }
  for (size_t n = 1; n < bytes.size(); ++n) ASSERT_EQ(Decode(bytes.substr(0, n), n, &body), 999);
}

TEST(ChunkDecoder, FaultsAreRefused) {
  const std::string nul(1, '\0');
  for (const std::string& bad : std::vector<std::string>{"\r\n",
                                                         "x\r\n",
                                                         "-1\r\n",
                                                         "+1\r\n",
                                                         "0x1\r\n",
                                                         " 1\r\na\r\n",
                                                         "1 \r\na\r\n",
                                                         "1\na\r\n",
                                                         "1\r\nab\r\n",
                                                         "1\r\na\n",
                                                         "1\r\na\r\r",
                                                         "10000000000000000\r\n",
                                                         "1;\r\na",
                                                         "1;=\r\n",
                                                         "1; a\r\n",
                                                         "1;a =b\r\n",
                                                         "1;a=\r\n",
                                                         "1;a=\"b\nc\"\r\n",
                                                         "1;a=\"b\x01\"\r\n",
                                                         "1;a=\"b\r\n\"\r\n",
                                                         "1;a=\"b\"c\r\n",
                                                         "1;a\n",
                                                         "1;a\rb",
                                                         "1;a" + nul + "\r\n",
                                                         "0\r\nX\r\n\r\n",
                                                         "0\r\n X: y\r\n\r\n",
                                                         "0\r\nX : y\r\n\r\n",
                                                         "0\r\nX: y\n\r\n",
                                                         "0\r\nContent-Length: 5\r\n\r\n",
                                                         "0\r\nTransfer-Encoding: chunked\r\n\r\n",
                                                         "0\r\nHost: x\r\n\r\n",
                                                         "0\n\n",
                                                         "0\r\nX: a\x01\r\n\r\n"}) {
    std::string body;
    EXPECT_EQ(Decode(bad, 1, &body), 400) << bad;
    EXPECT_EQ(Decode(bad, 1 << 20, &body), 400) << bad;
  }
}

TEST(ChunkDecoder, LimitsAreReachedExactly) {
  std::string body;
  // ';' and the extension: 256 bytes are allowed, 257 are not.
  EXPECT_EQ(Decode("1;" + std::string(255, 'a') + "\r\nx\r\n0\r\n\r\n", 7, &body), 0);
  EXPECT_EQ(Decode("1;" + std::string(256, 'a') + "\r\nx\r\n0\r\n\r\n", 7, &body), 400);
  std::string many;
  for (int i = 0; i < 70; ++i) many += "1;" + std::string(255, 'a') + "\r\nx\r\n";
  EXPECT_EQ(Decode(many + "0\r\n\r\n", 1000, &body), 400) << "16 KiB of extensions in all";
  EXPECT_EQ(Decode("5\r\nhello\r\n0\r\n\r\n", 3, &body, 5), 0);
  EXPECT_EQ(Decode("6\r\nhello!\r\n0\r\n\r\n", 3, &body, 5), 413);
  EXPECT_EQ(Decode("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 3, &body, 5), 413);
  EXPECT_EQ(Decode("ffffffffffffffff\r\n", 3, &body), 413) << "before a byte of it is held";
  std::string trailers;
  for (int i = 0; i < 101; ++i) trailers += "a: b\r\n";
  EXPECT_EQ(Decode("0\r\n" + trailers + "\r\n", 100, &body), 431);
  EXPECT_EQ(Decode("0\r\nX: " + std::string(33'000, 'a') + "\r\n\r\n", 100, &body), 431);
}

}  // namespace
}  // namespace rill::server
