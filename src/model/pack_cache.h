// PackCache: the packed weights of an earlier load, in a file beside the model (io/pack_file.h).
//
// Packing is a pure function of the model's files, the configuration, the weight mode and the
// backend's layout. The file says what it was made from; where any of that is another, or a
// checksum is wrong, the weights are packed and the file is written anew. So a load gives the same
// weights with and without it. A file's contents are compared by size and times (mtime, ctime,
// inode), and by a hash of all its bytes where those differ or are too young to prove anything.
//
// Owner thread: whoever loads. Nothing here fails a load: report() tells.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/pack_file.h"
#include "io/tensor_directory.h"
#include "ops/weight.h"

namespace rill::model {

struct PackCacheReport {
  std::string read_from;   // of the file that gave all weights, else empty
  std::string written_to;  // of the file that was made, else empty
  int64_t file_bytes = 0;
  std::vector<std::string> warnings;  // why one that is there was not used, or none was written
};

class PackCache {
 public:
  // `paths`: where the file may be, best first. `key`: everything besides the files' bytes that the
  // packed weights depend on. `tensors` must outlive this.
  PackCache(std::vector<std::string> paths, const io::TensorDirectory& tensors, std::string key);
  ~PackCache();

  // Looks for a file that fits.
  void Open();
  // Whether one was found, so that the model's own bytes are not wanted, most likely.
  bool has_file() const { return file_ != nullptr; }
  // The bytes of the weight with this description, or null: pack it. Until the next call.
  const ops::PackedBytes* Find(const std::string& description);
  // Each weight that was packed or restored, in the same order at every load. It must outlive
  // Finish.
  void Add(const std::string& description, const ops::PackedWeight& weight);
  // Writes the file unless it gave all weights.
  void Finish();
  const PackCacheReport& report() const { return report_; }

 private:
  class StoredWeight;

  // Empty when `file` fits, else why not.
  std::string Compare(const io::PackFile& file);
  std::vector<io::PackSource> CurrentSources(const std::vector<uint64_t>& hashes) const;
  void Write();
  std::vector<std::string> SourcePaths() const;

  std::vector<std::string> paths_;
  const io::TensorDirectory& tensors_;
  std::string key_;
  // Of tensors_.files(), before their bytes were looked at. Without one a file is known by its
  // bytes alone: it was read into memory, or another one has its name by now.
  std::vector<std::optional<io::FileStamp>> stamps_;
  std::unique_ptr<io::PackFile> file_;
  std::map<std::string, const io::PackRun*, std::less<>> runs_;  // of file_
  std::unique_ptr<StoredWeight> found_;
  struct Added {
    std::string description;
    const ops::PackedWeight* weight;
  };
  std::vector<Added> added_;
  bool complete_ = true;  // all that was asked for came from file_
  PackCacheReport report_;
};

}  // namespace rill::model
