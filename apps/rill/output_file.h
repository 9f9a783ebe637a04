// A file that is there whole or not at all: it has no name until it is whole (where the file system
// cannot do that, a name beside its place). What is no file (a device, a pipe) is written to as it
// is, never replaced; a link leads to its target; "-" is stdout.
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
  // 0, or the errno that stood in the way.
  int OpenUnnamed();
  int OpenNamed();
  int PutInPlace();

  std::string path_;       // as the user named it
  std::string target_;     // its real place; empty: no regular file
  std::string temporary_;  // the name beside it
  bool has_name_ = false;  // temporary_ is there
  std::FILE* file_ = nullptr;
};

}  // namespace rill::app
