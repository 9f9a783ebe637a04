// Writes a 2-D f32 array as a NumPy .npy file (format 1.0), row block by row block.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

#include "rill/status.h"

namespace rill::app {

class NpyWriter {
 public:
  ~NpyWriter();
  Status Open(const std::string& path, std::array<int64_t, 2> shape);
  Status Append(const float* values, int64_t count);
  // Renames the finished file into place. Without it nothing appears at `path`.
  Status Finish();

 private:
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace rill::app
