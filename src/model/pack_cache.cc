#include "model/pack_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>

#include "base/utf8.h"
#include "io/mapped_file.h"

namespace rill::model {

static_assert(ops::PackedBytes::kPieceBytes == int64_t{io::PackDirectory::kPieceBytes});

class PackCache::StoredWeight final : public ops::PackedBytes {
 public:
  StoredWeight(const io::PackFile& file, const io::PackRun& run) : file_(file), run_(run) {}
  int64_t size_bytes() const override { return static_cast<int64_t>(run_.size_bytes); }
  bool Read(int64_t begin, std::span<std::byte> out) const override {
    const bool ok = file_.ReadPiece(run_, static_cast<uint64_t>(begin), out);
    if (ok) {
      bytes_read_ += static_cast<int64_t>(out.size());
    } else {
      damaged_ = true;
    }
    return ok;
  }
  // Whether the weight is made of these bytes.
  bool was_used() const { return !damaged_ && bytes_read_ == size_bytes(); }
  bool damaged() const { return damaged_; }

 private:
  const io::PackFile& file_;
  const io::PackRun& run_;
  mutable std::atomic<int64_t> bytes_read_{0};
  mutable std::atomic<bool> damaged_{false};
};

PackCache::PackCache(std::vector<std::string> paths, const io::TensorDirectory& tensors,
                     std::string key)
    : paths_(std::move(paths)), tensors_(tensors), key_(std::move(key)) {}
PackCache::~PackCache() = default;

std::vector<io::PackSource> PackCache::CurrentSources(const std::vector<uint64_t>& hashes) const {
  // Two changes within one tick of a file system's clock leave the same times; the coarsest tick is
  // two seconds (FAT). Times that are older than that cannot come again.
  constexpr int64_t kTickNs = 2'000'000'000;
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  std::vector<io::PackSource> sources;
  for (size_t i = 0; i < hashes.size(); ++i) {
    io::PackSource source;
    source.stamp.size_bytes = tensors_.files()[i]->bytes().size();
    if (stamps_[i]) {
      source.stamp = *stamps_[i];
      source.stamp_is_proof =
          source.stamp.modified_ns < now - kTickNs && source.stamp.changed_ns < now - kTickNs;
    }
    source.hash = hashes[i];
    sources.push_back(source);
  }
  return sources;
}

std::string PackCache::Compare(const io::PackFile& file) {
  const io::PackDirectory& directory = file.directory();
  if (directory.key != key_) {
    return "it was made with other options, another configuration or another version of Rill";
  }
  const auto files = tensors_.files();
  if (directory.sources.size() != files.size()) return "it was made from other files";
  const auto other = [&](size_t i) {
    return "it was made from another " + PrintableUtf8(files[i]->path());
  };
  bool by_stamp = true;
  for (size_t i = 0; i < files.size(); ++i) {
    const io::PackSource& source = directory.sources[i];
    if (source.stamp.size_bytes != files[i]->bytes().size()) return other(i);
    by_stamp = by_stamp && source.stamp_is_proof && source.stamp == stamps_[i];
  }
  if (by_stamp) return {};
  std::vector<uint64_t> hashes;
  for (size_t i = 0; i < files.size(); ++i) {
    hashes.push_back(io::HashBytes(files[i]->bytes()));
    if (hashes.back() != directory.sources[i].hash) return other(i);
  }
  file.Restamp(CurrentSources(hashes));
  return {};
}

void PackCache::Open() {
  if (tensors_.files().empty()) paths_.clear();
  for (const auto& file : tensors_.files()) {
    stamps_.push_back(file->is_mapped() ? io::StampOf(file->path()) : std::nullopt);
    // Of the file that is mapped, not of one that has come to its name since.
    if (!file->CheckUnchanged().ok()) stamps_.back().reset();
  }
  std::string refused;
  for (const std::string& path : paths_) {
    auto opened = io::PackFile::Open(path, tensors_.files().front()->path());
    if (opened.status().code() == StatusCode::kNotFound) continue;
    const std::string why = opened.ok() ? Compare(**opened) : opened.status().message();
    if (why.empty()) {
      file_ = std::move(*opened);
      file_->LimitAccess(SourcePaths());
      for (const io::PackRun& run : file_->directory().runs) runs_.emplace(run.name, &run);
      return;
    }
    if (refused.empty()) refused = PrintableUtf8(path) + ": pack cache not used: " + why;
  }
  if (!refused.empty()) report_.warnings.push_back(refused);
}

const ops::PackedBytes* PackCache::Find(const std::string& description) {
  found_ = nullptr;
  if (file_ == nullptr) return nullptr;
  const auto at = runs_.find(description);
  if (at != runs_.end()) found_ = std::make_unique<StoredWeight>(*file_, *at->second);
  return found_.get();
}

void PackCache::Add(const std::string& description, const ops::PackedWeight& weight) {
  // What cannot be kept is packed at every load.
  if (paths_.empty() || weight.packed_data().empty()) return;
  added_.push_back({description, &weight});
  if (found_ != nullptr && found_->was_used()) return;
  complete_ = false;
  if (file_ == nullptr) return;
  // One bad weight and the file is to be replaced; what it gave before had its checksums.
  report_.warnings.push_back(PrintableUtf8(file_->path()) + ": pack cache not used further: " +
                             (found_ != nullptr && found_->damaged()
                                  ? "its bytes are not those that were written"
                                  : "it has no '" + PrintableUtf8(weight.name(), 100) + "'"));
  found_ = nullptr;
  runs_.clear();
  file_ = nullptr;
}

void PackCache::Finish() {
  found_ = nullptr;
  if (paths_.empty() || added_.empty()) return;
  if (file_ != nullptr && complete_) {
    report_.read_from = file_->path();
    for (const io::PackRun& run : file_->directory().runs) {
      report_.file_bytes = static_cast<int64_t>(run.offset + run.size_bytes);
    }
    return;
  }
  Write();
}

std::vector<std::string> PackCache::SourcePaths() const {
  std::vector<std::string> paths;
  for (const auto& file : tensors_.files()) paths.push_back(file->path());
  return paths;
}

void PackCache::Write() {
  io::PackDirectory directory;
  directory.key = key_;
  std::vector<uint64_t> hashes;
  for (const auto& file : tensors_.files()) hashes.push_back(io::HashBytes(file->bytes()));
  directory.sources = CurrentSources(hashes);
  std::vector<std::span<const std::byte>> contents;
  for (const Added& added : added_) {
    contents.push_back(added.weight->packed_data());
    directory.runs.push_back({added.description, contents.back().size(), 0, {}});
  }
  // Of a mapped file without a stamp (it changed between mapping and Open) nobody knows which of
  // its bytes were packed and which were hashed.
  const auto is_current = [&] {
    for (size_t i = 0; i < stamps_.size(); ++i) {
      const io::MappedFile& file = *tensors_.files()[i];
      if (file.is_mapped() && (!stamps_[i] || io::StampOf(file.path()) != stamps_[i])) return false;
    }
    return true;
  };
  std::string refused;
  for (const std::string& path : paths_) {
    Status status = io::WritePackFile(path, directory, contents, SourcePaths(), is_current);
    if (status.code() == StatusCode::kNotFound) {
      std::error_code error;
      std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
      if (!error) status = io::WritePackFile(path, directory, contents, SourcePaths(), is_current);
    }
    if (status.ok()) {
      report_.written_to = path;
      report_.file_bytes = static_cast<int64_t>(directory.Place());
      return;
    }
    if (status.code() == StatusCode::kUnavailable) return;  // another process is at it
    if (refused.empty()) refused = "pack cache: not written: " + status.message();
  }
  report_.warnings.push_back(refused);
}

}  // namespace rill::model
