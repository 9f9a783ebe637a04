// For tests only: builds small files byte by byte, and folders that vanish.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"

namespace rill::io::testing {

// Appends integers and floats as they lie in memory (little-endian).
template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Builds a GGUF file. Counts are what was added unless a test overrides them.
class GgufBuilder {
 public:
  explicit GgufBuilder(uint32_t version = 3) : version_(version) {}

  void PutString(std::string& out, std::string_view text) const {
    PutLength(out, text.size());
    out += text;
  }
  void PutLength(std::string& out, uint64_t length) const {
    if (version_ == 1) {
      Put(out, static_cast<uint32_t>(length));
    } else {
      Put(out, length);
    }
  }
  // `value`: the bytes after the type.
  GgufBuilder& Pair(std::string_view key, GgufType type, std::string_view value) {
    PutString(pairs_, key);
    Put(pairs_, static_cast<uint32_t>(type));
    pairs_ += value;
    ++num_pairs;
    return *this;
  }
  template <typename T>
  GgufBuilder& Number(std::string_view key, GgufType type, T value) {
    std::string bytes;
    Put(bytes, value);
    return Pair(key, type, bytes);
  }
  GgufBuilder& Text(std::string_view key, std::string_view text) {
    std::string bytes;
    PutString(bytes, text);
    return Pair(key, GgufType::kString, bytes);
  }
  GgufBuilder& Texts(std::string_view key, const std::vector<std::string>& texts) {
    std::string bytes;
    Put(bytes, static_cast<uint32_t>(GgufType::kString));
    PutLength(bytes, texts.size());
    for (const std::string& text : texts) PutString(bytes, text);
    return Pair(key, GgufType::kArray, bytes);
  }
  // `dims` innermost first, as in the file.
  GgufBuilder& Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset) {
    PutString(tensors_, name);
    Put(tensors_, static_cast<uint32_t>(dims.size()));
    for (uint64_t dim : dims) PutLength(tensors_, dim);
    Put(tensors_, type);
    Put(tensors_, offset);
    ++num_tensors;
    return *this;
  }
  // The header, padded, then `data_bytes` bytes of data.
  std::string Build(size_t data_bytes, size_t alignment = 32) const {
    std::string out = Header();
    if (data_bytes > 0) out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i * 37);
    return out;
  }
  std::string Header() const {
    std::string out = "GGUF";
    Put(out, version_);
    PutLength(out, num_tensors);
    PutLength(out, num_pairs);
    return out + pairs_ + tensors_;
  }

  uint64_t num_pairs = 0;
  uint64_t num_tensors = 0;

 private:
  uint32_t version_;
  std::string pairs_, tensors_;
};

// A safetensors file of this header text and this much data.
inline std::string Safetensors(const std::string& header, size_t data_bytes) {
  std::string out;
  Put(out, uint64_t{header.size()});
  out += header;
  for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i * 37);
  return out;
}

// A new folder under the system's temporary folder, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string form = (std::filesystem::temp_directory_path() / "rill_io_XXXXXX").string();
    path_ = ::mkdtemp(form.data()) ? form : std::string();
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string Write(std::string_view name, const std::string& bytes) const {
    const std::string path = *this / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
  }

 private:
  std::string path_;
};

inline int64_t PeakMemoryBytes() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace rill::io::testing
