#include "npy_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace rill::app {

NpyWriter::~NpyWriter() {
  if (file_) {
    std::fclose(file_);
    std::remove(temporary_.c_str());
  }
}

Status NpyWriter::Open(const std::string& path, std::array<int64_t, 2> shape) {
  path_ = path;
  temporary_ = path + ".tmp" + std::to_string(getpid());
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (!file_) return InvalidArgument(path + ": " + std::strerror(errno));
  std::string header = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
  // Magic, version and length are 10 bytes; the data starts at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xFF);
  prefix += static_cast<char>(header.size() >> 8);
  prefix += header;
  if (std::fwrite(prefix.data(), 1, prefix.size(), file_) != prefix.size()) {
    return ResourceExhausted(path_ + ": " + std::strerror(errno));
  }
  return OkStatus();
}

Status NpyWriter::Append(const float* values, int64_t count) {
  const auto n = static_cast<size_t>(count);
  if (std::fwrite(values, sizeof(float), n, file_) != n) {
    return ResourceExhausted(path_ + ": " + std::strerror(errno));
  }
  return OkStatus();
}

Status NpyWriter::Finish() {
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (!closed || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    std::remove(temporary_.c_str());
    return ResourceExhausted(path_ + ": " + reason);
  }
  return OkStatus();
}

}  // namespace rill::app
