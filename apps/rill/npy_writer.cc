#include "npy_writer.h"

#include <fmt/format.h>

namespace rill::app {

Status NpyWriter::Open(const std::string& path, std::array<int64_t, 2> shape) {
  RILL_RETURN_IF_ERROR(file_.Open(path));
  std::string header = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
  // Magic, version and length are 10 bytes; the data starts at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xFF);
  prefix += static_cast<char>(header.size() >> 8);
  return file_.Write(prefix + header);
}

Status NpyWriter::Append(const float* values, int64_t count) {
  return file_.Write(
      {reinterpret_cast<const char*>(values), static_cast<size_t>(count) * sizeof(float)});
}

}  // namespace rill::app
