// PackFile: named runs of bytes with checksums (`*.rill-pack`): what a load made and a later load
// may read instead of making it again. docs/formats.md describes the file.
//
// Every byte of it is hostile: nothing is believed before its checksum, sizes are compared with the
// file's before anything is allocated, and there is no offset in it that could point elsewhere (the
// runs follow one another). It is no proof against somebody who writes checksums too: Open takes
// only files of this user, of root, or of who owns the file it was made from.
//
// Thread-safe once opened (immutable).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/safe_open.h"
#include "rill/status.h"

namespace rill::io {

// What tells a file from what it was before, without reading it.
struct FileStamp {
  uint64_t size_bytes = 0, inode = 0;
  int64_t modified_ns = 0, changed_ns = 0;  // mtime, ctime
  bool operator==(const FileStamp&) const = default;
};
// Of the file that has this path now; nothing when there is none.
std::optional<FileStamp> StampOf(const std::string& path);

// A file that the runs were made from.
struct PackSource {
  FileStamp stamp;
  bool stamp_is_proof = false;  // false: it had been changed so lately that its times may repeat
  uint64_t hash = 0;            // HashBytes of all of it
  bool operator==(const PackSource&) const = default;
};

struct PackRun {
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t offset = 0;           // in the file; derived, not stored
  std::vector<uint64_t> hashes;  // of each piece
};

// What stands before the bytes of the runs.
struct PackDirectory {
  static constexpr uint64_t kPieceBytes = uint64_t{256} << 10;
  static constexpr uint64_t kAlign = 4096;  // of the first byte of each run
  static constexpr uint64_t kMaxTableBytes = uint64_t{64} << 20;
  std::string key;  // of whoever wrote it: compared, never interpreted
  std::vector<PackSource> sources;
  std::vector<PackRun> runs;

  // Header and table, as they stand at the beginning of the file. The same size for the same names
  // and sizes.
  std::string Encode() const;
  // Gives every run its offset; returns the size of the file.
  uint64_t Place();
};

inline constexpr size_t kPackHeaderBytes = 48;
// `head`: the file's first bytes, header and table at least. Errors: kInvalidArgument, saying what
// is wrong, for anything but a whole and unaltered table of a file of `file_bytes`.
Result<PackDirectory> ParsePackDirectory(std::span<const std::byte> head, uint64_t file_bytes);

class PackFile {
 public:
  // `beside`: a file that the runs were made from. Errors: kNotFound when there is none; else why
  // it is not taken.
  static Result<std::unique_ptr<PackFile>> Open(const std::string& path, const std::string& beside);

  const std::string& path() const { return path_; }
  const PackDirectory& directory() const { return directory_; }
  // Piece [begin, begin + out.size()) of `run`, begin a multiple of kPieceBytes. false when it
  // cannot be read or is not what was written.
  bool ReadPiece(const PackRun& run, uint64_t begin, std::span<std::byte> out) const;
  // Writes other sources into the file, for a source whose bytes are the same and whose stamp is
  // not. Best effort: where it cannot, the file stays, or is refused by its checksums.
  void Restamp(std::vector<PackSource> sources) const;
  // Takes the file from readers who may not read all of `made_from`. Best effort: where it is
  // another user's, it stays.
  void LimitAccess(const std::vector<std::string>& made_from) const;

 private:
  PackFile() = default;
  std::string path_;
  UniqueFd fd_;
  PackDirectory directory_;
};

// Writes a pack file, whole or not at all: to `path`.part, synchronised, then renamed. The hashes
// of `directory` are filled in; contents[i] are the bytes of directory.runs[i]. `is_current` is
// asked just before the renaming. It can be read by who may read all of `made_from`, the files that
// the runs were made from (io/file_access.h).
// Errors: kUnavailable when another process is writing it; kFailedPrecondition when is_current() is
// false or `path`.part is somebody else's; else those of FileError. Nothing but `path` is left
// behind, unless the process is killed: the next one takes over its .part.
Status WritePackFile(const std::string& path, PackDirectory directory,
                     std::span<const std::span<const std::byte>> contents,
                     const std::vector<std::string>& made_from,
                     const std::function<bool()>& is_current);

// XXH3 (64 bits) of the XXH3 of pieces of 4 MiB, on several threads.
uint64_t HashBytes(std::span<const std::byte> bytes);

}  // namespace rill::io
