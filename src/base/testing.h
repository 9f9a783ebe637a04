// For tests only: where test data is. Tests that need it skip, and say so, where it is absent.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace rill::testing {

// The root of the checkout (tests/source_dir.cc).
std::string SourceDir();

inline bool PathExists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

// Path under the shared data folder: $RILL_SHARED_DATA, or ../shared/data beside the checkout.
// Empty when that folder or the path is absent.
inline std::string SharedData(const std::string& relative) {
  const char* env = std::getenv("RILL_SHARED_DATA");
  std::string path = (env ? std::string(env) : SourceDir() + "/../shared/data");
  path += "/" + relative;
  return PathExists(path) ? path : std::string();
}

// SmolLM2-135M-Instruct Q4_1 GGUF: $RILL_SMOLLM2, or where `rill pull smollm2` puts it.
inline std::string SmolLm2() {
  if (const char* env = std::getenv("RILL_SMOLLM2")) return env;
  const char* cache = std::getenv("RILL_CACHE");
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string path = (cache ? std::string(cache)
                            : xdg ? std::string(xdg) + "/rill"
                                  : std::string(home ? home : "") + "/.cache/rill") +
                           "/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  return PathExists(path) ? path : std::string();
}

// A folder of its own that stands for a machine's root; gone with this.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "root.XXXXXX").string();
    if (const char* made = ::mkdtemp(name.data())) path_ = made;
  }
  ~FakeRoot() {
    if (!path_.empty()) std::filesystem::remove_all(path_);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path_ + file).parent_path());
    std::ofstream(path_ + file) << text;
  }

 private:
  std::string path_;
};

}  // namespace rill::testing

// In a TEST body: declares `std::string name` or skips the test.
#define RILL_SHARED_DATA_OR_SKIP(name, relative)                  \
  const std::string name = ::rill::testing::SharedData(relative); \
  if (name.empty()) GTEST_SKIP() << "skipped: no shared data (" << (relative) << ")"
