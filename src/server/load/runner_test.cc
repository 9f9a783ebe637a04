#include "rill/load_test.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "server/load/response_parser.h"
#include "server/load/sse_parser.h"

namespace rill {
namespace {

using server::ResponseParser;
using server::SseParser;

TEST(SseParser, EventsComeOutHoweverBytesArrive) {
  const std::string bytes =
      ": ping\n\ndata: {\"a\":1}\n\ndata:two\r\n\r\nevent: x\ndata: l1\ndata: l2\n\n"
      "data\n\nid: 7\n\nretry: 5\rdata: cr\r\rdata: [DONE]\n\n";
  const std::vector<std::string> expected = {"{\"a\":1}", "two", "l1\nl2", "", "cr", "[DONE]"};
  for (size_t step = 1; step <= bytes.size(); ++step) {
    SseParser parser;
    std::vector<std::string> events;
    for (size_t i = 0; i < bytes.size(); i += step) {
      ASSERT_TRUE(parser.Feed(bytes.substr(i, step), &events));
    }
    ASSERT_EQ(events, expected) << step;
  }
}

TEST(SseParser, LargeEventsAreRefused) {
  SseParser parser(100);
  std::vector<std::string> events;
  EXPECT_TRUE(parser.Feed("data: " + std::string(90, 'a') + "\n\n", &events));
  EXPECT_FALSE(parser.Feed("data: " + std::string(100, 'a'), &events));
  SseParser lines(100);
  bool ok = true;
  for (int i = 0; i < 30 && ok; ++i) ok = lines.Feed("data: 12345\n", &events);
  EXPECT_FALSE(ok);
}

// Feeds in portions; the state at the end.
ResponseParser::State Feed(ResponseParser& parser, const std::string& bytes, size_t step,
                           std::string* body) {
  auto state = ResponseParser::State::kNeedMore;
  for (size_t i = 0; i < bytes.size() && state == ResponseParser::State::kNeedMore;) {
    size_t consumed = 0;
    state = parser.Feed(std::string_view(bytes).substr(i, step), &consumed, body);
    i += consumed;
    if (consumed == 0) break;
  }
  return state;
}

TEST(ResponseParser, FramesOfAllKinds) {
  const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
  for (size_t step : {1, 2, 3, 7, 1000}) {
    std::string body;
    ResponseParser length;
    EXPECT_EQ(
        Feed(length, interim + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", step, &body),
        ResponseParser::State::kComplete);
    EXPECT_EQ(body, "hello");
    EXPECT_TRUE(length.keep_alive());
    body.clear();
    ResponseParser chunked;
    EXPECT_EQ(Feed(chunked,
                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                   "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
                   step, &body),
              ResponseParser::State::kComplete);
    EXPECT_EQ(body, "hello!");
    EXPECT_FALSE(chunked.keep_alive());
    body.clear();
    ResponseParser closes;
    EXPECT_EQ(Feed(closes, "HTTP/1.0 503 Busy\r\n\r\nlater", step, &body),
              ResponseParser::State::kNeedMore);
    EXPECT_EQ(closes.FeedEof(), ResponseParser::State::kComplete);
    EXPECT_EQ(closes.status(), 503);
    EXPECT_EQ(body, "later");
  }
  std::string body;
  ResponseParser empty;
  EXPECT_EQ(Feed(empty, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1000, &body),
            ResponseParser::State::kComplete);
  for (const char* head : {"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
                           "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    for (const std::string& before : {std::string(), interim}) {
      ResponseParser parser;
      EXPECT_EQ(Feed(parser, before + head, 1000, &body), ResponseParser::State::kComplete) << head;
      EXPECT_TRUE(parser.keep_alive());
    }
  }
  for (const char* bad : {"SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"}) {
    ResponseParser parser;
    EXPECT_EQ(Feed(parser, bad, 1000, &body), ResponseParser::State::kBad) << bad;
  }
  ResponseParser raw;
  EXPECT_EQ(Feed(raw, "\x1b[31mred \xff" + std::string(90, 'a') + "\r\n\r\n", 1000, &body),
            ResponseParser::State::kBad);
  EXPECT_EQ(raw.error(),
            "not an HTTP/1 response: '\\x1b[31mred \\xff" + std::string(24, 'a') + "…'");
  ResponseParser cut;
  Feed(cut, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", 1000, &body);
  EXPECT_EQ(cut.FeedEof(), ResponseParser::State::kBad);
}

TEST(LoadReport, Percentiles_AreOverSamplesAndInterpolated) {
  std::vector<double> seconds;
  for (int i = 100; i >= 1; --i) seconds.push_back(i / 1000.0);
  const LoadTimes times = SummarizeTimes(seconds);
  // numpy.percentile(range(1, 101), [50, 90, 99]) = 50.5, 90.1, 99.01
  EXPECT_NEAR(times.mean, 50.5, 1e-9);
  EXPECT_NEAR(times.p50, 50.5, 1e-9);
  EXPECT_NEAR(times.p90, 90.1, 1e-9);
  EXPECT_NEAR(times.p99, 99.01, 1e-9);
  EXPECT_EQ(times.max, 100);
  EXPECT_TRUE(std::isnan(SummarizeTimes({}).mean));
  EXPECT_EQ(SummarizeTimes({0.25}).p99, 250);
}

TEST(LoadReport, GapsRunFromTokenToToken_AndFailuresDoNotCount) {
  LoadSample a;
  a.arrival_s = 1;
  a.events_s = {1.5, 1.6, 1.8};
  a.end_s = 2;
  a.output_tokens = 3;
  LoadSample b;
  b.arrival_s = 2;
  b.events_s = {2.1, 2.5};
  b.end_s = 3;
  b.output_tokens = 2;
  LoadSample failed;
  failed.arrival_s = 2;
  failed.events_s = {2.9, 9.9};
  failed.end_s = 5;
  failed.output_tokens = 100;
  failed.error = "timeout";
  const LoadReport report = MakeLoadReport({a, b, failed});
  EXPECT_EQ(report.requests, 3);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.itl_ms.samples, 3u);
  EXPECT_NEAR(report.itl_ms.mean, (100 + 200 + 400) / 3.0, 1e-9);
  EXPECT_NEAR(report.ttft_ms.mean, (500 + 100) / 2.0, 1e-9);
  EXPECT_NEAR(report.e2e_ms.mean, 1000, 1e-9);
  EXPECT_NEAR(report.duration_s, 4, 1e-12);
  EXPECT_NEAR(report.requests_per_s, 0.5, 1e-12);
  EXPECT_NEAR(report.output_tokens_per_s, 1.25, 1e-12);
  EXPECT_NEAR(report.batch_first_token_ms, 1100, 1e-9);
  const Json json = report.ToJson();
  ASSERT_EQ(json.object().size(), 8u);
  EXPECT_EQ(json.object().back().first, "errors");
  EXPECT_EQ(json.Find("ttft_ms")->object().size(), 3u);
  EXPECT_NE(report.ToSvg("a <b> & \"c\"").find("a &lt;b&gt; &amp; &quot;c&quot;"),
            std::string::npos);
  EXPECT_EQ(MakeLoadReport({}).ToJson().Find("requests")->int_value(), 0);
  EXPECT_FALSE(MakeLoadReport({}).ToSvg("empty").empty());
}

TEST(LoadDatasets, ReadWhatTheyShould) {
  const std::string path = ::testing::TempDir() + "load_dataset_test.csv";
  std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                         "2023-12-31 23:59:59.5000000,374,44\r\n2024-01-01 00:00:01.0,5000,10\r\n"
                         "2024-03-01 00:00:00.0,7,3";
  auto azure = ReadAzureRequests(path, 10, 4096);
  ASSERT_TRUE(azure.ok()) << azure.status().ToString();
  ASSERT_EQ(azure->size(), 2u) << "5010 tokens are too many";
  EXPECT_EQ((*azure)[0].max_tokens, 44);
  // 2024 is a leap year: 31 + 29 days, and half a second of the old year.
  EXPECT_NEAR((*azure)[1].arrival_s, 60 * 86400 + 0.5, 1e-6);
  for (const char* bad :
       {"x", "TIMESTAMP,ContextTokens,GeneratedTokens\nnow,1,2",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1,2x",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,99999999999,2"}) {
    std::ofstream(path) << bad;
    EXPECT_FALSE(ReadAzureRequests(path, 10, 0).ok()) << bad;
  }
  std::ofstream(path)
      << R"([{"conversations":[{"from":"human","value":"four"},{"value":"eight888"}]},
    {"conversations":[{"value":"alone"}]}, {"id":1}, 7,
    {"conversations":[{"value":"long prompt too long"},{"value":"a"}]}])";
  auto count = [](const std::string& text) { return static_cast<int32_t>(text.size()); };
  auto sharegpt = ReadShareGptRequests(path, 10, 12, count);
  ASSERT_TRUE(sharegpt.ok());
  ASSERT_EQ(sharegpt->size(), 1u);
  EXPECT_EQ((*sharegpt)[0].prompt, "four");
  EXPECT_EQ((*sharegpt)[0].max_tokens, 8);
  std::ofstream(path) << "{}";
  EXPECT_FALSE(ReadShareGptRequests(path, 10, 0, count).ok());
  EXPECT_FALSE(ReadShareGptRequests("/nonexistent", 10, 0, count).ok());
  EXPECT_NE(MakePromptText(50, 1), MakePromptText(50, 2));
}

TEST(LoadDatasets, PromptsOfTracesAreMadeWhenTheyAreSent) {
  const std::string path = ::testing::TempDir() + "load_dataset_lazy_test.csv";
  std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1048576,4\n";
  auto azure = ReadAzureRequests(path, 10, 0);
  ASSERT_TRUE(azure.ok()) << azure.status().ToString();
  EXPECT_EQ((*azure)[0].prompt_tokens, kMaxMadeUpTokens);
  EXPECT_EQ((*azure)[0].prompt, "");
  std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1048577,4\n";
  EXPECT_EQ(ReadAzureRequests(path, 10, 0).status().message(),
            path + ":2: expected at most 1048576 prompt tokens, got 1048577");
}

TEST(LoadDatasets, TimesOfTracesAreTimes) {
  const std::string path = ::testing::TempDir() + "load_dataset_time_test.csv";
  auto read = [&path](const std::string& time) {
    std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:05,5,5\n"
                        << time << ",5,5\n";
    return ReadAzureRequests(path, 10, 0);
  };
  for (const char* bad :
       {"2023-11-16 18:17:nan", "2023-11-16 18:17:inf", "2023-11-16 18:17:-inf",
        "2023-11-16 18:17:1e300", "2023-11-16 18:17:-1", "2023-11-16 18:17:61",
        "2023-11-16 18:17:0x1", "2023-11-16 18:17:", "2023-11-16 18:17", "2023-11-16 18:60:00",
        "2023-11-16 24:00:00", "2023-11-16 -1:00:00", "2023-11-16 18:17:05 tomorrow"}) {
    const auto requests = read(bad);
    ASSERT_FALSE(requests.ok()) << bad;
    EXPECT_NE(requests.status().message().find(":3: expected time,tokens,tokens"),
              std::string::npos);
  }
  for (const char* good :
       {"2023-11-16 18:17:06.5", "2023-11-16 18:17:06.500000+00:00", "2023-11-16 18:17:06.50Z"}) {
    const auto requests = read(good);
    ASSERT_TRUE(requests.ok()) << good << requests.status().ToString();
    EXPECT_EQ((*requests)[1].arrival_s, 1.5);
  }
  // Rows that are not in the order of their times are sent in it.
  const auto earlier = read("2023-11-16 18:17:03");
  ASSERT_TRUE(earlier.ok());
  EXPECT_EQ((*earlier)[0].arrival_s, 0);
  EXPECT_EQ((*earlier)[1].arrival_s, 2);
}

TEST(LoadDatasets, EndlessFilesAndFoldersAreRefused) {
  auto count = [](const std::string&) { return 1; };
  EXPECT_EQ(ReadShareGptRequests("/dev", 10, 0, count).status().message(),
            "/dev: expected a file, got a folder");
  EXPECT_EQ(ReadAzureRequests("/dev", 10, 0).status().message(),
            "/dev: expected a file, got a folder");
  EXPECT_EQ(ReadShareGptRequests("/dev/zero", 10, 0, count).status().message(),
            "/dev/zero: expected JSON, got a zero byte at offset 0");
  EXPECT_EQ(
      ReadAzureRequests("/dev/zero", 10, 0).status().message().find("/dev/zero:1: a line of more"),
      0u);
  const std::string path = ::testing::TempDir() + "load_dataset_long_test.csv";
  std::ofstream(path) << "TIMESTAMP,ContextTokens,GeneratedTokens\n" << std::string(5000, '\x1b');
  const Status status = ReadAzureRequests(path, 10, 0).status();
  EXPECT_EQ(status.message().find(path + ":2: a line of more than 4096 bytes: '\\x1b"), 0u);
  EXPECT_LT(status.message().size(), path.size() + 200);
}

TEST(LoadTest, WrongOptionsAreRefusedBeforeAnythingIsSent) {
  LoadTestOptions options;
  options.model = "m";
  EXPECT_EQ(RunLoadTest(options).status().code(), StatusCode::kInvalidArgument) << "no requests";
  options.requests.resize(1);
  for (const char* url :
       {"localhost:80", "ftp://a", "http://", "http://a b", "http://u@h", "http://h?x", "http",
        "http://[::1", "http://::1", "http://[]", "http://[::1]x", "http://a]", "http://a[b]:1",
        "http://h:1:2", "http://[::1]:"}) {
    options.url = url;
    EXPECT_EQ(RunLoadTest(options).status().code(), StatusCode::kInvalidArgument) << url;
  }
  for (const char* port : {"99999", "65536", "0", "-1", "+1", "80x", "http", "4294967376"}) {
    options.url = "http://127.0.0.1:" + std::string(port);
    const Status status = RunLoadTest(options).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << port;
    EXPECT_EQ(status.message(),
              "url '" + options.url + "': expected a port from 1 to 65535, got '" + port + "'");
  }
  options.url = "http://127.0.0.1:1";
  options.api_key = "a\r\nX: y";
  EXPECT_EQ(RunLoadTest(options).status().message(),
            "API key: expected no control character, got '\\x0d' at offset 1");
  options.api_key = "";
  options.prefix_tokens = 1;
  options.num_prefixes = 0;
  EXPECT_EQ(RunLoadTest(options).status().code(), StatusCode::kInvalidArgument);
  options.prefix_tokens = 0;
  options.rate = 0;
  EXPECT_FALSE(RunLoadTest(options).ok());
  options.rate = 1;
  options.extra_body = "[]";
  EXPECT_FALSE(RunLoadTest(options).ok());
  options.extra_body = "";
  for (const char* url : {"http://127.0.0.1:1", "HTTP://127.0.0.1:1/v1/", "http://[::1]:1"}) {
    options.url = url;
    const auto report = RunLoadTest(options);
    ASSERT_TRUE(report.ok()) << url;
    EXPECT_EQ(report->failed, 1);
    EXPECT_EQ(report->errors.begin()->first.rfind("connect: ", 0), 0u);
  }
}

}  // namespace
}  // namespace rill
