// A file that is there whole or not at all: written beside its place and renamed into it. What is
// no file (a device, a pipe) is written to as it is, never replaced; a link leads to its target.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::app {

class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();  // without Finish, nothing appears
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Open(const std::string& path);
  Status Write(std::string_view bytes);
  Status Finish();

 private:
  Status Fail(int error);

  std::string path_;       // as the user named it
  std::string target_;     // its real place
  std::string temporary_;  // empty: no regular file
  std::FILE* file_ = nullptr;
};

}  // namespace rill::app
