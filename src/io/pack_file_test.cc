#include "io/pack_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/test_files.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rill::io {
namespace {

using ::testing::HasSubstr;
using testing::Put;
using testing::TempFolder;

constexpr auto kPiece = static_cast<size_t>(PackDirectory::kPieceBytes);

std::string Contents(size_t size, char seed) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>(seed + i * 7 + i / 251);
  return out;
}

const std::vector<std::string>& Runs() {
  static const std::vector<std::string> runs = {Contents(100, 1), Contents(0, 2),
                                                Contents(2 * kPiece + 5, 3), Contents(4096, 4)};
  return runs;
}

PackDirectory Directory() {
  PackDirectory directory;
  directory.key = "the key";
  directory.sources.push_back({{10, 20, 30, 40}, true, 50});
  for (size_t i = 0; i < Runs().size(); ++i) {
    directory.runs.push_back({"run " + std::to_string(i), Runs()[i].size(), 0, {}});
  }
  return directory;
}

Status Write(const std::string& path, bool is_current = true,
             const std::vector<std::string>& made_from = {}) {
  std::vector<std::span<const std::byte>> contents;
  for (const std::string& run : Runs()) contents.push_back(testing::Bytes(run));
  return WritePackFile(path, Directory(), contents, made_from, [=] { return is_current; });
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Whether every run can be read; what is read is what was written.
bool AllRunsRead(const PackFile& file) {
  bool all = true;
  for (size_t i = 0; i < file.directory().runs.size(); ++i) {
    const PackRun& run = file.directory().runs[i];
    std::string got(run.size_bytes, '\0');
    bool ok = true;
    for (size_t at = 0; at < got.size(); at += kPiece) {
      const size_t count = std::min(kPiece, got.size() - at);
      ok = ok && file.ReadPiece(run, at, std::as_writable_bytes(std::span(got)).subspan(at, count));
    }
    if (ok) {
      EXPECT_EQ(got, Runs()[i]);
    }
    all = all && ok;
  }
  return all;
}

TEST(PackFile, WriteThenOpen_GivesEverythingBack) {
  const TempFolder folder;
  const std::string path = folder / "m.rill-pack";
  const mode_t mask = ::umask(027);
  const Status written = Write(path);
  ::umask(mask);
  ASSERT_TRUE(written.ok()) << written.ToString();
  struct stat info;
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
  const auto file = PackFile::Open(path, path);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ((*file)->directory().key, "the key");
  EXPECT_EQ((*file)->directory().sources, Directory().sources);
  ASSERT_EQ((*file)->directory().runs.size(), Runs().size());
  for (const PackRun& run : (*file)->directory().runs) {
    EXPECT_EQ(run.offset % PackDirectory::kAlign, 0u);
  }
  EXPECT_TRUE(AllRunsRead(**file));
}

TEST(PackFile, ReadPiece_OutsideOrAcross_IsRefused) {
  const TempFolder folder;
  ASSERT_TRUE(Write(folder / "p").ok());
  const auto file = PackFile::Open(folder / "p", folder / "p");
  ASSERT_TRUE(file.ok());
  const PackRun& run = (*file)->directory().runs[2];
  std::vector<std::byte> out(kPiece);
  EXPECT_TRUE((*file)->ReadPiece(run, 0, out));
  EXPECT_FALSE((*file)->ReadPiece(run, 1, out));
  EXPECT_FALSE((*file)->ReadPiece(run, 2 * kPiece, out));
  EXPECT_FALSE((*file)->ReadPiece(run, 3 * kPiece, out));
  EXPECT_FALSE((*file)->ReadPiece(run, 0, std::span(out).first(5)));
}

TEST(PackFile, CutAnywhere_IsRefused) {
  const TempFolder folder;
  ASSERT_TRUE(Write(folder / "p").ok());
  const std::string whole = ReadFile(folder / "p");
  const size_t head = Directory().Encode().size();
  std::vector<size_t> sizes = {whole.size() - 1, whole.size() - 4096, 4096, head, head + 1};
  for (size_t i = 1; i <= head; ++i) sizes.push_back(i);
  for (const size_t size : sizes) {
    const std::string path = folder.Write("cut", whole.substr(0, size));
    EXPECT_FALSE(PackFile::Open(path, path).ok()) << size;
  }
  const std::string path = folder.Write("long", whole + '\0');
  EXPECT_FALSE(PackFile::Open(path, path).ok());
}

TEST(PackFile, OneByteAltered_IsRefusedOrHarmless) {
  const TempFolder folder;
  ASSERT_TRUE(Write(folder / "p").ok());
  std::string bytes = ReadFile(folder / "p");
  PackDirectory directory = Directory();
  directory.Place();
  const auto is_content = [&](size_t at) {
    for (const PackRun& run : directory.runs) {
      if (at >= run.offset && at < run.offset + run.size_bytes) return true;
    }
    return at < directory.Encode().size();
  };
  const size_t head = directory.Encode().size();
  for (size_t at = 0; at < bytes.size(); at += at < head + 200 ? 1 : 991) {
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    const std::string path = folder.Write("altered", bytes);
    const auto file = PackFile::Open(path, path);
    // AllRunsRead compares what it gets.
    const bool all_read = file.ok() && AllRunsRead(**file);
    EXPECT_EQ(all_read, !is_content(at)) << at;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
  }
}

// A head with right checksums, whatever stands in it.
std::string Head(const std::string& table, uint64_t file_bytes, uint64_t table_bytes) {
  std::string out = "RILLPACK";
  Put(out, uint32_t{1});
  Put(out, uint32_t{0});
  Put(out, table_bytes);
  Put(out, file_bytes);
  Put(out, XXH3_64bits(table.data(), table.size()));
  Put(out, XXH3_64bits(out.data(), out.size()));
  return out + table;
}

TEST(PackFile, LiesWithRightChecksums_AreRefused) {
  const auto parse = [](const std::string& table, uint64_t file_bytes) {
    return ParsePackDirectory(testing::Bytes(Head(table, file_bytes, table.size())), file_bytes);
  };
  const auto table = [](uint32_t sources, uint32_t runs, uint64_t size) {
    std::string out;
    Put(out, uint32_t{0});
    Put(out, sources);
    Put(out, runs);
    Put(out, uint32_t{1});
    out += "n";
    Put(out, size);
    Put(out, uint64_t{7});
    return out;
  };
  ASSERT_TRUE(parse(table(0, 1, 9), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(0, 1, 9), 4096 + 10).ok());
  EXPECT_FALSE(parse(table(0, 1, 9), 100).ok());
  EXPECT_FALSE(parse(table(0, 1, UINT64_MAX), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(0, 1, UINT64_MAX - 4095), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(0, 1, uint64_t{1} << 40), uint64_t{1} << 41).ok());
  EXPECT_FALSE(parse(table(0, 2, 9), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(0, UINT32_MAX, 9), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(UINT32_MAX, 1, 9), 4096 + 9).ok());
  EXPECT_FALSE(parse(table(0, 0, 9), 4096 + 9).ok());
  std::string long_key;
  Put(long_key, UINT32_MAX);
  EXPECT_FALSE(parse(long_key, 4096).ok());
  EXPECT_FALSE(parse("", 4096).ok());
  // A table that is said to be longer than it is, or than any can be.
  const std::string good = table(0, 1, 9);
  for (const uint64_t bytes : {uint64_t{good.size() + 1}, uint64_t{1} << 30, UINT64_MAX}) {
    EXPECT_FALSE(ParsePackDirectory(testing::Bytes(Head(good, 4105, bytes)), 4105).ok());
  }
}

TEST(PackFile, Restamp_ChangesTheSourcesAlone) {
  const TempFolder folder;
  ASSERT_TRUE(Write(folder / "p").ok());
  const auto file = PackFile::Open(folder / "p", folder / "p");
  ASSERT_TRUE(file.ok());
  const std::vector<PackSource> sources = {{{10, 21, 31, 41}, false, 50}};
  (*file)->Restamp(sources);
  const auto again = PackFile::Open(folder / "p", folder / "p");
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ((*again)->directory().sources, sources);
  EXPECT_TRUE(AllRunsRead(**again));
  // Another file has the name now: it is left alone.
  std::filesystem::remove(folder / "p");
  folder.Write("p", "something else");
  (*again)->Restamp(sources);
  EXPECT_EQ(ReadFile(folder / "p"), "something else");
}

TEST(PackFile, Write_LeavesNothingWhenItFails) {
  const TempFolder folder;
  const std::string path = folder / "p";
  EXPECT_THAT(Write(path, /*is_current=*/false).message(), HasSubstr("changed"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  rlimit limit, small;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  small = limit;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status too_large = Write(path);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_EQ(too_large.code(), StatusCode::kResourceExhausted) << too_large.ToString();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(Write(folder / "absent/p").code(), StatusCode::kNotFound);
  std::filesystem::create_directory(path);
  EXPECT_FALSE(Write(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

TEST(PackFile, Write_TakesOverWhatAKilledOneLeft) {
  const TempFolder folder;
  folder.Write("p.part", Contents(5'000'000, 9));
  ASSERT_TRUE(Write(folder / "p").ok());
  const auto file = PackFile::Open(folder / "p", folder / "p");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(AllRunsRead(**file));
}

TEST(PackFile, Write_WhileAnotherDoes_GivesWay) {
  const TempFolder folder;
  const std::string part = folder.Write("p.part", "half");
  const UniqueFd other(::open(part.c_str(), O_RDWR));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  EXPECT_EQ(Write(folder / "p").code(), StatusCode::kUnavailable);
  EXPECT_EQ(ReadFile(part), "half");
}

TEST(PackFile, Write_FollowsNoLinkThatWaits) {
  const TempFolder folder;
  const std::string mine = folder.Write("mine", "precious");
  std::filesystem::create_symlink(mine, folder / "p.part");
  EXPECT_FALSE(Write(folder / "p").ok());
  std::filesystem::remove(folder / "p.part");
  std::filesystem::create_hard_link(mine, folder / "p.part");
  EXPECT_FALSE(Write(folder / "p").ok());
  EXPECT_EQ(ReadFile(mine), "precious");
}

TEST(PackFile, ManyWriters_LeaveOneWholeFile) {
  const TempFolder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool ok = true;
      for (int round = 0; round < 10; ++round) {
        const Status status = Write(folder / "p");
        ok = ok && (status.ok() || status.code() == StatusCode::kUnavailable);
        const auto file = PackFile::Open(folder / "p", folder / "p");
        ok =
            ok && (file.ok() ? AllRunsRead(**file) : file.status().code() == StatusCode::kNotFound);
      }
      ::_exit(ok ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_TRUE(PackFile::Open(folder / "p", folder / "p").ok());
  EXPECT_FALSE(std::filesystem::exists(folder / "p.part"));
}

mode_t ModeOf(const std::string& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

TEST(PackFile, Readers_AreThoseOfAllItsSources) {
  const TempFolder folder;
  const std::string a = folder.Write("a", "a"), b = folder.Write("b", "b"), pack = folder / "p";
  const mode_t mask = ::umask(022);
  struct Case {
    mode_t a, b, umask, want;
  };
  for (const Case& c : {Case{0644, 0644, 022, 0644},
                        {0600, 0644, 022, 0600},
                        {0644, 0640, 022, 0640},
                        {0640, 0604, 022, 0600},
                        {0777, 0666, 002, 0644},
                        {0400, 0444, 022, 0600},
                        {0644, 0644, 077, 0600},
                        {0644, 0644, 0, 0644}}) {
    ASSERT_EQ(::chmod(a.c_str(), c.a), 0);
    ASSERT_EQ(::chmod(b.c_str(), c.b), 0);
    // What a killed process left, which everybody may read, as well.
    folder.Write("p.part", "left");
    ASSERT_EQ(::chmod((pack + ".part").c_str(), 0666), 0);
    ::umask(c.umask);
    ASSERT_TRUE(Write(pack, true, {a, b}).ok());
    EXPECT_EQ(ModeOf(pack), c.want) << std::oct << c.a << " " << c.b << " umask " << c.umask;
    EXPECT_EQ(::umask(022), c.umask);
  }
  ASSERT_TRUE(Write(pack, true, {a, folder / "gone"}).ok());
  EXPECT_EQ(ModeOf(pack), 0600u);
  ::umask(mask);
}

TEST(PackFile, GroupOfASource_IsNotThatOfThePack) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const TempFolder folder;
  const std::string a = folder.Write("a", "a"), pack = folder / "p";
  ASSERT_EQ(::chown(a.c_str(), 0, 12345), 0);
  const mode_t mask = ::umask(022);
  for (const auto& [mode, want] :
       {std::pair<mode_t, mode_t>{0640, 0600}, {0604, 0600}, {0644, 0644}}) {
    ASSERT_EQ(::chmod(a.c_str(), mode), 0);
    ASSERT_TRUE(Write(pack, true, {a}).ok());
    EXPECT_EQ(ModeOf(pack), want) << std::oct << mode;
  }
  ::umask(mask);
}

TEST(PackFile, LimitAccess_TakesReadersAndGivesNone) {
  const TempFolder folder;
  const std::string a = folder.Write("a", "a"), pack = folder / "p";
  ASSERT_TRUE(Write(pack).ok());
  ASSERT_EQ(::chmod(pack.c_str(), 0644), 0);
  for (const auto& [mode, want] :
       {std::pair<mode_t, mode_t>{0644, 0644}, {0600, 0600}, {0644, 0600}}) {
    ASSERT_EQ(::chmod(a.c_str(), mode), 0);
    const auto file = PackFile::Open(pack, a);
    ASSERT_TRUE(file.ok());
    (*file)->LimitAccess({a});
    EXPECT_EQ(ModeOf(pack), want) << std::oct << mode;
  }
}

TEST(PackFile, OfAnotherUser_IsNotTaken) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const TempFolder folder;
  ASSERT_TRUE(Write(folder / "p").ok());
  const std::string beside = folder.Write("m", "model");
  ASSERT_EQ(::chown((folder / "p").c_str(), 12345, 12345), 0);
  EXPECT_THAT(PackFile::Open(folder / "p", beside).status().message(), HasSubstr("another user"));
  ASSERT_EQ(::chown(beside.c_str(), 12345, 12345), 0);
  EXPECT_TRUE(PackFile::Open(folder / "p", beside).ok());
}

}  // namespace
}  // namespace rill::io
