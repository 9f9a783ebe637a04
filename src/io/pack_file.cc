#include "io/pack_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <unordered_set>

#include "base/checked_math.h"
#include "base/side_thread.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "io/file_access.h"
#include "rill/file_error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rill::io {
namespace {

constexpr char kMagic[8] = {'R', 'I', 'L', 'L', 'P', 'A', 'C', 'K'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHashedHeaderBytes = kPackHeaderBytes - 8;

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void PutText(std::string& out, std::string_view text) {
  Put(out, static_cast<uint32_t>(text.size()));
  out += text;
}

uint64_t NumPieces(uint64_t size_bytes) {
  return size_bytes / PackDirectory::kPieceBytes + (size_bytes % PackDirectory::kPieceBytes != 0);
}

uint64_t AlignedUp(uint64_t at) {
  return (at + PackDirectory::kAlign - 1) / PackDirectory::kAlign * PackDirectory::kAlign;
}

// Takes values off the front of what is left; `ok` stays false after the first that is not there.
struct Cursor {
  std::span<const std::byte> left;
  bool ok = true;

  template <typename T>
  T Take() {
    T value{};
    if (!ok || left.size() < sizeof(T)) {
      ok = false;
      return value;
    }
    std::memcpy(&value, left.data(), sizeof value);
    left = left.subspan(sizeof value);
    return value;
  }
  std::string TakeText() {
    const auto size = Take<uint32_t>();
    if (!ok || left.size() < size) {
      ok = false;
      return {};
    }
    std::string text(reinterpret_cast<const char*>(left.data()), size);
    left = left.subspan(size);
    return text;
  }
};

bool ReadAt(int fd, std::byte* out, size_t size, uint64_t at) {
  while (size > 0) {
    const ssize_t n = ::pread(fd, out, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out += n;
    at += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteAt(int fd, const void* data, size_t size, uint64_t at) {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, from, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0) errno = EIO;
      return false;
    }
    from += n;
    at += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return true;
}

// Removes a file that did not get its final name.
class Unfinished {
 public:
  explicit Unfinished(std::string path) : path_(std::move(path)) {}
  ~Unfinished() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void Keep() { path_.clear(); }

 private:
  std::string path_;
};

bool SameFile(int fd, const std::string& path) {
  struct stat a, b;
  return ::fstat(fd, &a) == 0 && ::lstat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace

std::optional<FileStamp> StampOf(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return FileStamp{static_cast<uint64_t>(info.st_size), info.st_ino, nanoseconds(info.st_mtim),
                   nanoseconds(info.st_ctim)};
}

uint64_t HashBytes(std::span<const std::byte> bytes) {
  constexpr size_t kPiece = size_t{4} << 20;
  std::vector<uint64_t> hashes((bytes.size() + kPiece - 1) / kPiece);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < hashes.size(); i = next++) {
      const auto piece = bytes.subspan(i * kPiece, std::min(kPiece, bytes.size() - i * kPiece));
      hashes[i] = XXH3_64bits(piece.data(), piece.size());
    }
  };
  const size_t num_threads = std::min<size_t>(
      {static_cast<size_t>(AvailableCpus()), 8, std::max<size_t>(hashes.size(), 1)});
  OnThreads(num_threads, work);
  return XXH3_64bits_withSeed(hashes.data(), hashes.size() * sizeof(uint64_t), bytes.size());
}

std::string PackDirectory::Encode() const {
  std::string table;
  PutText(table, key);
  Put(table, static_cast<uint32_t>(sources.size()));
  for (const PackSource& source : sources) {
    Put(table, source.stamp.size_bytes);
    Put(table, source.stamp.inode);
    Put(table, source.stamp.modified_ns);
    Put(table, source.stamp.changed_ns);
    Put(table, uint64_t{source.stamp_is_proof});
    Put(table, source.hash);
  }
  Put(table, static_cast<uint32_t>(runs.size()));
  uint64_t data_bytes = 0;
  for (const PackRun& run : runs) {
    PutText(table, run.name);
    Put(table, run.size_bytes);
    for (size_t i = 0; i < NumPieces(run.size_bytes); ++i) {
      Put(table, i < run.hashes.size() ? run.hashes[i] : uint64_t{0});
    }
    data_bytes = AlignedUp(data_bytes) + run.size_bytes;
  }
  std::string out(kMagic, sizeof kMagic);
  Put(out, kVersion);
  Put(out, uint32_t{0});
  Put(out, uint64_t{table.size()});
  Put(out, AlignedUp(kPackHeaderBytes + table.size()) + data_bytes);
  Put(out, XXH3_64bits(table.data(), table.size()));
  Put(out, XXH3_64bits(out.data(), out.size()));
  return out + table;
}

uint64_t PackDirectory::Place() {
  uint64_t end = Encode().size();
  for (PackRun& run : runs) {
    run.offset = AlignedUp(end);
    end = run.offset + run.size_bytes;
  }
  return runs.empty() ? AlignedUp(end) : end;
}

Result<PackDirectory> ParsePackDirectory(std::span<const std::byte> head, uint64_t file_bytes) {
  const auto bad = [](const char* what) { return InvalidArgument(what); };
  if (head.size() < kPackHeaderBytes) return bad("no whole header");
  Cursor header{head.first(kPackHeaderBytes)};
  if (std::memcmp(head.data(), kMagic, sizeof kMagic) != 0) return bad("no pack file");
  header.left = header.left.subspan(sizeof kMagic);
  if (header.Take<uint32_t>() != kVersion) return bad("another version of the format");
  (void)header.Take<uint32_t>();
  const auto table_bytes = header.Take<uint64_t>();
  const auto size_bytes = header.Take<uint64_t>();
  const auto table_hash = header.Take<uint64_t>();
  if (header.Take<uint64_t>() != XXH3_64bits(head.data(), kHashedHeaderBytes)) {
    return bad("the header's checksum is wrong");
  }
  if (size_bytes != file_bytes) return bad("the file is not as long as it was when written");
  if (table_bytes > PackDirectory::kMaxTableBytes || table_bytes > file_bytes) {
    return bad("the table is larger than a table can be");
  }
  if (head.size() - kPackHeaderBytes < table_bytes) return bad("no whole table");
  Cursor table{head.subspan(kPackHeaderBytes, table_bytes)};
  if (XXH3_64bits(table.left.data(), table.left.size()) != table_hash) {
    return bad("the table's checksum is wrong");
  }
  // From here on it is what somebody wrote, which need not be Rill.
  PackDirectory out;
  out.key = table.TakeText();
  const auto num_sources = table.Take<uint32_t>();
  for (uint32_t i = 0; i < num_sources && table.ok; ++i) {
    PackSource source;
    source.stamp.size_bytes = table.Take<uint64_t>();
    source.stamp.inode = table.Take<uint64_t>();
    source.stamp.modified_ns = table.Take<int64_t>();
    source.stamp.changed_ns = table.Take<int64_t>();
    source.stamp_is_proof = table.Take<uint64_t>() == 1;
    source.hash = table.Take<uint64_t>();
    out.sources.push_back(source);
  }
  const auto num_runs = table.Take<uint32_t>();
  uint64_t end = AlignedUp(kPackHeaderBytes + table_bytes);
  for (uint32_t i = 0; i < num_runs && table.ok; ++i) {
    PackRun run;
    run.name = table.TakeText();
    run.size_bytes = table.Take<uint64_t>();
    if (end > file_bytes || run.size_bytes > file_bytes - std::min(AlignedUp(end), file_bytes)) {
      return bad("a run of bytes ends behind the file's end");
    }
    run.offset = AlignedUp(end);
    end = run.offset + run.size_bytes;
    const uint64_t num_pieces = NumPieces(run.size_bytes);
    if (num_pieces > table.left.size() / sizeof(uint64_t)) return bad("the table is cut");
    run.hashes.resize(num_pieces);
    for (uint64_t& hash : run.hashes) hash = table.Take<uint64_t>();
    out.runs.push_back(std::move(run));
  }
  if (!table.ok || !table.left.empty()) return bad("the table is not as long as its entries");
  if (end != file_bytes) return bad("the file is not as long as its entries");
  return out;
}

Result<std::unique_ptr<PackFile>> PackFile::Open(const std::string& path,
                                                 const std::string& beside) {
  RILL_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFile(path));
  struct stat info, source;
  if (::fstat(opened.fd.get(), &info) != 0) {
    return FileError(PrintableUtf8(path) + ": " + std::strerror(errno), errno);
  }
  const bool trusted = info.st_uid == ::geteuid() || info.st_uid == 0 ||
                       (::stat(beside.c_str(), &source) == 0 && source.st_uid == info.st_uid);
  if (!trusted) return InvalidArgument("it belongs to another user");
  std::string head(std::min<uint64_t>(opened.size_bytes, kPackHeaderBytes), '\0');
  const auto read = [&](size_t from) {
    return ReadAt(opened.fd.get(), reinterpret_cast<std::byte*>(head.data()) + from,
                  head.size() - from, from);
  };
  if (!read(0)) return DataLoss("it cannot be read");
  if (head.size() == kPackHeaderBytes) {
    uint64_t table_bytes;
    std::memcpy(&table_bytes, head.data() + 16, sizeof table_bytes);
    if (table_bytes <= PackDirectory::kMaxTableBytes &&
        table_bytes <= opened.size_bytes - kPackHeaderBytes) {
      head.resize(kPackHeaderBytes + table_bytes);
      if (!read(kPackHeaderBytes)) return DataLoss("it cannot be read");
    }
  }
  std::unique_ptr<PackFile> file(new PackFile);
  RILL_ASSIGN_OR_RETURN(file->directory_,
                        ParsePackDirectory(std::as_bytes(std::span(head)), opened.size_bytes));
  file->path_ = path;
  file->fd_ = std::move(opened.fd);
  ::posix_fadvise(file->fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return file;
}

bool PackFile::ReadPiece(const PackRun& run, uint64_t begin, std::span<std::byte> out) const {
  const uint64_t piece = begin / PackDirectory::kPieceBytes;
  if (begin % PackDirectory::kPieceBytes != 0 || piece >= run.hashes.size() ||
      out.size() != std::min(PackDirectory::kPieceBytes, run.size_bytes - begin)) {
    return false;
  }
  return ReadAt(fd_.get(), out.data(), out.size(), run.offset + begin) &&
         XXH3_64bits(out.data(), out.size()) == run.hashes[piece];
}

void PackFile::Restamp(std::vector<PackSource> sources) const {
  if (sources.size() != directory_.sources.size()) return;
  const UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat mine, now;
  // The very file that was read, and nobody else is at it.
  if (fd.get() < 0 || ::fstat(fd_.get(), &mine) != 0 || ::fstat(fd.get(), &now) != 0 ||
      mine.st_dev != now.st_dev || mine.st_ino != now.st_ino ||
      ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return;
  }
  PackDirectory directory = directory_;
  directory.sources = std::move(sources);
  const std::string head = directory.Encode();
  // Who reads it half written finds a wrong checksum. That is for a moment; no need to synchronise.
  (void)WriteAt(fd.get(), head.data(), head.size(), 0);
}

void PackFile::LimitAccess(const std::vector<std::string>& made_from) const {
  (void)SetAccessLike(fd_.get(), made_from, true);
}

Status WritePackFile(const std::string& path, PackDirectory directory,
                     std::span<const std::span<const std::byte>> contents,
                     const std::vector<std::string>& made_from,
                     const std::function<bool()>& is_current) {
  const std::string part = path + ".part";
  const auto error = [&](const std::string& at) {
    return FileError(PrintableUtf8(at) + ": " + std::strerror(errno), errno);
  };
  const uint64_t file_bytes = directory.Place();
  // Beyond this limit the kernel ends the process with a signal.
  rlimit limit;
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      file_bytes > limit.rlim_cur) {
    errno = EFBIG;
    return error(path);
  }
  // One name for all: a lock says who writes, and what a killed process left is taken over.
  const UniqueFd fd(
      ::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (fd.get() < 0) return error(part);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return error(part);
  // In a folder that others write to, a link to something of ours may be waiting under this name.
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1 || info.st_uid != ::geteuid()) {
    return FailedPrecondition(PrintableUtf8(part) + ": not a file that Rill made");
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return error(part);
    return Unavailable(PrintableUtf8(part) + ": another process is writing it");
  }
  // Between open and lock its last writer may have given it its name.
  if (!SameFile(fd.get(), part)) {
    return Unavailable(PrintableUtf8(part) + ": another process has written it");
  }
  Unfinished unfinished(part);
  if (!SetAccessLike(fd.get(), made_from, false)) return error(part);
  if (::ftruncate(fd.get(), 0) != 0) return error(part);
  // Says at once that the disk is full, where the file system can; else a write does.
  if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(file_bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return error(part);
  }
  for (size_t i = 0; i < directory.runs.size(); ++i) {
    PackRun& run = directory.runs[i];
    run.hashes.clear();
    for (uint64_t at = 0; at < run.size_bytes; at += PackDirectory::kPieceBytes) {
      const auto piece =
          contents[i].subspan(at, std::min(PackDirectory::kPieceBytes, run.size_bytes - at));
      run.hashes.push_back(XXH3_64bits(piece.data(), piece.size()));
      if (!WriteAt(fd.get(), piece.data(), piece.size(), run.offset + at)) return error(part);
    }
  }
  const std::string head = directory.Encode();
  if (!WriteAt(fd.get(), head.data(), head.size(), 0)) return error(part);
  if (::ftruncate(fd.get(), static_cast<off_t>(file_bytes)) != 0) return error(part);
  if (::fsync(fd.get()) != 0) return error(part);
  if (!is_current()) {
    return FailedPrecondition("the model's files changed while it was loaded");
  }
  if (::rename(part.c_str(), path.c_str()) != 0) return error(path);
  unfinished.Keep();
  const size_t slash = path.rfind('/');
  const UniqueFd folder(::open(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(),
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
  return OkStatus();
}

}  // namespace rill::io
