// Writes a 2-D f32 array as a NumPy .npy file (format 1.0), row block by row block.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "output_file.h"
#include "rill/status.h"

namespace rill::app {

class NpyWriter {
 public:
  Status Open(const std::string& path, std::array<int64_t, 2> shape);
  Status Append(const float* values, int64_t count);
  // Without it nothing appears at `path`.
  Status Finish() { return file_.Finish(); }

 private:
  OutputFile file_;
};

}  // namespace rill::app
