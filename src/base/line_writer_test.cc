#include "rill/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace rill {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

bool Soon(const std::function<bool()>& is_so) {
  for (const auto end = Clock::now() + seconds(10); Clock::now() < end;) {
    if (is_so()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return is_so();
}

// A pipe; the writer that gets `writer` closes it.
struct Pipe {
  explicit Pipe(int flags = 0) {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC | flags), 0);
    reader = fds[0];
    writer = fds[1];
  }
  ~Pipe() { Close(); }
  void Close() {
    if (reader >= 0) close(reader);
    reader = -1;
  }
  // Until it ends with `last`.
  std::string ReadTo(const std::string& last) const {
    std::string out, part(1 << 16, '\0');
    while (!out.ends_with(last)) {
      const ssize_t got = read(reader, part.data(), part.size());
      if (got > 0) out.append(part, 0, static_cast<size_t>(got));
      if (got == 0) break;
    }
    return out;
  }
  int reader = -1, writer = -1;
};

// What nobody reads holds up nobody, costs lines and no memory, and begins again.
void ExpectNoWait(LineWriter& writer, const std::function<std::string()>& read_all) {
  const std::string line = std::string(999, 'x') + "\n";
  const auto start = Clock::now();
  int written = 0;
  while (writer.dropped() < 100) {
    writer.Write(line);
    ASSERT_LT(++written, 100'000);
  }
  EXPECT_GT(written, static_cast<int>(LineWriter::kMaxQueuedBytes / line.size()));
  EXPECT_FALSE(writer.Flush(milliseconds(20)));
  EXPECT_LT(Clock::now() - start, seconds(10));
  std::string all;
  std::thread reader([&] { all = read_all(); });
  EXPECT_TRUE(Soon([&] { return writer.idle(); }));
  const uint64_t dropped = writer.dropped();
  writer.Write("last\n");
  reader.join();
  EXPECT_EQ(writer.dropped(), dropped);
  EXPECT_EQ(all.size(), (static_cast<uint64_t>(written) - dropped) * line.size() + 5);
  EXPECT_TRUE(all.ends_with("x\nlast\n"));
}

TEST(LineWriter, AFullPipe_HoldsUpNobodyAndIsTakenUpAgain) {
  for (const int flags : {0, O_NONBLOCK}) {
    Pipe pipe;
    fcntl(pipe.writer, F_SETFL, flags);
    LineWriter writer(pipe.writer);
    ExpectNoWait(writer, [&] { return pipe.ReadTo("last\n"); });
  }
}

TEST(LineWriter, ATerminalThatNobodyReads_HoldsUpNobody) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) GTEST_SKIP() << "skipped: no pseudo-terminals here";
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(slave, 0);
  termios plain = {};
  tcgetattr(slave, &plain);
  plain.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  tcsetattr(slave, TCSANOW, &plain);
  LineWriter writer(slave);
  Pipe pipe;
  close(pipe.writer);
  close(pipe.reader);
  pipe.reader = master;
  ExpectNoWait(writer, [&] { return pipe.ReadTo("last\n"); });
}

TEST(LineWriter, ALongText_IsWrittenWhole) {
  Pipe pipe;
  LineWriter writer(pipe.writer);
  const std::string text = std::string(3 << 20, 'y') + "\n";
  writer.Write(text);
  EXPECT_EQ(pipe.ReadTo("\n"), text);
  EXPECT_TRUE(Soon([&] { return writer.idle(); }));
  EXPECT_EQ(writer.dropped(), 0U);
}

TEST(LineWriter, ABurstThatTheFileTakes_LosesNothing) {
  std::vector<std::string> texts(100, std::string(100'000, 'z') + "\n");
  char path[] = "/tmp/rill-line-writer-XXXXXX";
  const int fd = mkostemp(path, O_CLOEXEC);
  ASSERT_GE(fd, 0);
  unlink(path);
  const int reader = dup(fd);
  LineWriter writer(fd);
  for (std::string& text : texts) writer.Write(std::move(text));
  EXPECT_TRUE(writer.Flush(seconds(10)));
  EXPECT_EQ(writer.dropped(), 0U);
  EXPECT_EQ(lseek(reader, 0, SEEK_END), 100 * 100'001);
  close(reader);
}

TEST(LineWriter, NoReaderNoSpaceAndNoDescriptor_AreCounted) {
  signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.Close();
  for (const int fd : {pipe.writer, open("/dev/full", O_WRONLY | O_CLOEXEC), -1}) {
    LineWriter writer(fd);
    writer.Write("x\n");
    writer.Write("y\n");
    EXPECT_TRUE(Soon([&] { return writer.dropped() == 2; }));
  }
}

TEST(LineWriter, TextsThatWait_GoToTheNewDescriptor) {
  Pipe before, after;
  fcntl(before.writer, F_SETFL, O_NONBLOCK);
  LineWriter writer(before.writer);
  writer.Write("1\n");
  ASSERT_TRUE(writer.Flush(seconds(10)));
  std::string fill(1 << 12, 'f');
  while (write(before.writer, fill.data(), fill.size()) > 0) {
  }
  writer.Write("2\n");
  writer.Write("3\n");
  EXPECT_FALSE(writer.Flush(milliseconds(20)));
  writer.Switch(after.writer, seconds(10));
  EXPECT_EQ(after.ReadTo("3\n"), "2\n3\n");
  EXPECT_EQ(writer.dropped(), 0U);
  // Closed: the reader sees its end.
  EXPECT_TRUE(before.ReadTo("none").starts_with("1\nfff"));
}

TEST(LineWriter, TheEnd_WritesWhatIsQueuedAndWaitsForNobody) {
  Pipe pipe;
  {
    LineWriter writer(pipe.writer);
    for (int i = 0; i < 100; ++i) writer.Write("line\n");
  }
  EXPECT_EQ(pipe.ReadTo("none").size(), 500U);
  Pipe full;
  fcntl(full.writer, F_SETFL, O_NONBLOCK);
  const auto start = Clock::now();
  {
    LineWriter writer(full.writer);
    for (int i = 0; i < 1000; ++i) writer.Write(std::string(1000, 'z'));
  }
  EXPECT_LT(Clock::now() - start, seconds(5));
  const auto bytes = full.ReadTo("none").size();  // and its thread ends
  EXPECT_GT(bytes, 0U);
}

}  // namespace
}  // namespace rill
