#include "rill/stderr_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace rill {
namespace {

using std::chrono::milliseconds;

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(fds_), 0); }
  ~Pipe() {
    CloseReader();
    close(fds_[1]);
  }
  int writer() const { return fds_[1]; }
  void CloseReader() {
    if (fds_[0] >= 0) close(fds_[0]);
    fds_[0] = -1;
  }
  std::string Read(size_t size) {
    std::string out(size, '\0');
    const ssize_t got = read(fds_[0], out.data(), size);
    out.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return out;
  }

 private:
  int fds_[2] = {-1, -1};
};

TEST(StderrWriter, AFullPipe_IsGivenUpAndTakenUpAgain) {
  Pipe pipe;
  StderrWriter writer(pipe.writer());
  const std::string line(999, 'x');
  int lines = 0;
  while (writer.Write(line + "\n", milliseconds(20))) ASSERT_LT(++lines, 10'000);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_GT(lines, 3);
  // Not waited for again: a thousand more at once.
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(writer.Write(line + "\n", milliseconds(1000)));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  std::string all = pipe.Read(1 << 20);
  EXPECT_TRUE(writer.Write("last\n"));
  all += pipe.Read(1 << 20);
  // Whole lines, but for one that may have been cut; the last one stands alone.
  EXPECT_TRUE(all.ends_with("\nlast\n"));
}

TEST(StderrWriter, ALongText_IsWrittenWhole) {
  Pipe pipe;
  StderrWriter writer(pipe.writer());
  const std::string text(20'000, 'y');
  EXPECT_TRUE(writer.Write(text));
  EXPECT_EQ(pipe.Read(1 << 20), text);
}

TEST(StderrWriter, NoReaderAndNoSpace_AreErrors) {
  signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.CloseReader();
  EXPECT_FALSE(StderrWriter(pipe.writer()).Write("x"));
  EXPECT_EQ(errno, EPIPE);
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  EXPECT_FALSE(StderrWriter(full).Write("x"));
  EXPECT_EQ(errno, ENOSPC);
  close(full);
}

}  // namespace
}  // namespace rill
