// A model loaded with its pack cache gives the bits that it gives without, whatever happened to the
// model or to the cache in between.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "backends/registry.h"
#include "io/model_source.h"
#include "io/pack_file.h"
#include "io/test_files.h"
#include "model/model.h"
#include "model/test_source.h"
#include "rill/llm.h"

namespace rill {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A tiny Llama in a folder, and a cache folder of its own.
class PackCacheTest : public ::testing::Test {
 protected:
  PackCacheTest() {
    ::setenv("RILL_CACHE", (temp_ / "cache").c_str(), 1);
    WriteModel(0);
    Age(weights());
  }
  ~PackCacheTest() override { ::unsetenv("RILL_CACHE"); }

  std::string folder() const { return temp_ / "m"; }
  std::string weights() const { return folder() + "/model.safetensors"; }
  std::string pack() const { return folder() + "/model.rill-pack"; }

  // Models of one size that differ in one weight.
  void WriteModel(int variant) const {
    const model::TestSource made;
    const io::ModelSource source = made.Make();
    std::string header = "{", data;
    for (const io::TensorEntry& entry : source.tensors.entries()) {
      const size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(entry.view.data),
                  static_cast<size_t>(entry.view.SizeBytes()));
      if (entry.name == "model.layers.1.mlp.down_proj.weight") {
        float value;
        std::memcpy(&value, &data[begin], 4);
        value += static_cast<float>(variant);
        std::memcpy(&data[begin], &value, 4);
      }
      header += (header.size() > 1 ? ",\"" : "\"") + entry.name + R"(":{"dtype":"F32","shape":)" +
                entry.view.shape.ToString() + ",\"data_offsets\":[" + std::to_string(begin) + "," +
                std::to_string(data.size()) + "]}";
    }
    header += "}";
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string file;
    io::testing::Put(file, uint64_t{header.size()});
    temp_.Write("m/model.safetensors", file + header + data);
    temp_.Write("m/config.json", source.config.Dump());
  }
  // Its times are past; its change time is now, until the clock goes on.
  static void Age(const std::string& path) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
  }

  struct Loaded {
    uint64_t fingerprint = 0;
    std::string read, written;
    std::vector<std::string> warnings;
  };
  Loaded Load(bool pack_cache = true, const LoadOptions& base = {}) const {
    LoadOptions options = base;
    options.num_threads = 2;
    options.max_step_tokens = 16;
    options.pack_cache = pack_cache;
    const auto llm = Llm::Open(folder(), options);
    EXPECT_TRUE(llm.ok()) << llm.status().ToString();
    if (!llm.ok()) return {};
    const ModelInfo& info = (*llm)->info();
    return {*(*llm)->Fingerprint(), info.pack_cache_read, info.pack_cache_written, info.warnings};
  }

  static std::string ReadFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void WriteFile(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  io::testing::TempFolder temp_;
};

TEST_F(PackCacheTest, SecondLoad_ReadsWhatTheFirstWrote) {
  const Loaded without = Load(false);
  EXPECT_FALSE(fs::exists(pack()));
  const Loaded first = Load();
  EXPECT_EQ(first.written, pack());
  EXPECT_THAT(first.read, IsEmpty());
  const std::string bytes = ReadFile(pack());
  const Loaded second = Load();
  EXPECT_EQ(second.read, pack());
  EXPECT_THAT(second.written, IsEmpty());
  EXPECT_EQ(first.fingerprint, without.fingerprint);
  EXPECT_EQ(second.fingerprint, without.fingerprint);
  EXPECT_EQ(first.warnings, without.warnings);
  EXPECT_EQ(second.warnings, without.warnings);
  // Its bytes are what is used: the last weight's, altered under a right checksum, show.
  const auto file = io::PackFile::Open(pack(), pack());
  ASSERT_TRUE(file.ok());
  io::PackDirectory directory = (*file)->directory();
  std::vector<std::string> runs;
  for (const io::PackRun& run : directory.runs) {
    runs.push_back(bytes.substr(run.offset, run.size_bytes));
  }
  runs.back()[1] = static_cast<char>(runs.back()[1] ^ 0x40);
  std::vector<std::span<const std::byte>> contents;
  for (const std::string& run : runs) contents.push_back(io::testing::Bytes(run));
  ASSERT_TRUE(io::WritePackFile(pack(), directory, contents, {}, [] { return true; }).ok());
  EXPECT_NE(Load().fingerprint, without.fingerprint);
}

TEST_F(PackCacheTest, OtherOptions_ShareOrHaveTheirOwn) {
  for (const char* weights : {"file", "w8a8"}) {
    for (const char* activations : {"f32", "q8"}) {
      LoadOptions options;
      options.weights = weights;
      options.activations = activations;
      const Loaded without = Load(false, options);
      // How activations enter a product changes nothing that is kept.
      EXPECT_EQ(Load(true, options).written.empty(), activations == std::string("q8"));
      const Loaded second = Load(true, options);
      EXPECT_THAT(second.read, HasSubstr(".rill-pack"));
      EXPECT_EQ(second.fingerprint, without.fingerprint) << weights << " " << activations;
    }
  }
  EXPECT_TRUE(fs::exists(folder() + "/model.w8a8.rill-pack"));
  // A file of another mode under this one's name.
  fs::copy_file(folder() + "/model.w8a8.rill-pack", pack(), fs::copy_options::overwrite_existing);
  const Loaded other = Load();
  EXPECT_THAT(other.warnings, ElementsAre(HasSubstr("other options")));
  EXPECT_EQ(other.written, pack());
  EXPECT_EQ(other.fingerprint, Load(false).fingerprint);
}

TEST_F(PackCacheTest, TouchedSource_IsComparedByItsBytes) {
  const uint64_t expected = Load().fingerprint;
  for (int i = 0; i < 2; ++i) {
    fs::last_write_time(weights(), fs::file_time_type::clock::now() - std::chrono::hours(2 + i));
    const Loaded loaded = Load();
    EXPECT_EQ(loaded.read, pack());
    EXPECT_EQ(loaded.fingerprint, expected);
  }
  // The same bytes in another file.
  fs::copy_file(weights(), weights() + ".copy");
  fs::rename(weights() + ".copy", weights());
  EXPECT_EQ(Load().read, pack());
}

TEST_F(PackCacheTest, OtherModelUnderTheName_IsPackedAgain) {
  const uint64_t first = Load().fingerprint;
  WriteModel(1);
  Age(weights());
  const Loaded other = Load();
  EXPECT_NE(other.fingerprint, first);
  EXPECT_EQ(other.fingerprint, Load(false).fingerprint);
  EXPECT_THAT(other.warnings, ElementsAre(AllOf(HasSubstr("not used"), HasSubstr("another"))));
  EXPECT_EQ(other.written, pack());
  const Loaded again = Load();
  EXPECT_EQ(again.read, pack());
  EXPECT_EQ(again.fingerprint, other.fingerprint);
}

TEST_F(PackCacheTest, OldTimes_AreProofWithoutReading) {
  Load();
  std::this_thread::sleep_for(std::chrono::milliseconds(2200));
  EXPECT_EQ(Load().read, pack());  // by hash, and remembers times that are old enough by now
  const auto file = io::PackFile::Open(pack(), pack());
  ASSERT_TRUE(file.ok());
  std::vector<io::PackSource> sources = (*file)->directory().sources;
  ASSERT_EQ(sources.size(), 1u);
  EXPECT_TRUE(sources[0].stamp_is_proof);
  sources[0].hash ^= 1;  // would be refused if it were looked at
  (*file)->Restamp(sources);
  EXPECT_EQ(Load().read, pack());
  // Any change of the file's times makes it look.
  fs::permissions(weights(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(Load().written, pack());
}

// Times that somebody sets back, within the tick of the clock in which the cache was made.
TEST_F(PackCacheTest, OtherBytesOfTheSameSizeAndTime_AreNoticed) {
  const auto time = fs::last_write_time(weights());
  const uint64_t first = Load().fingerprint;
  WriteModel(1);  // in place: the same inode
  fs::last_write_time(weights(), time);
  const Loaded other = Load();
  EXPECT_NE(other.fingerprint, first);
  EXPECT_EQ(other.fingerprint, Load(false).fingerprint);
}

// Somebody was writing when the file was mapped: what was packed and what would be hashed may
// differ.
TEST_F(PackCacheTest, SourceThatChangedAfterItWasMapped_IsNotKept) {
  const auto source = io::OpenModel(folder());
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the clock of files has ticks
  Age(weights());
  auto backend = backends::MakeBackend("cpu");
  ASSERT_TRUE(backend.ok());
  model::ModelOptions options;
  options.max_step_tokens = 16;
  options.pack_cache = {pack()};
  const auto loaded = model::Model::Load(*source, **backend, options);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_THAT((*loaded)->pack_cache().warnings, ElementsAre(HasSubstr("changed while")));
  EXPECT_FALSE(fs::exists(pack()));
}

TEST_F(PackCacheTest, OtherConfiguration_IsNoticed) {
  Load();
  std::string config = ReadFile(folder() + "/config.json");
  config.replace(config.find("10000"), 5, "20000");
  WriteFile(folder() + "/config.json", config);
  const Loaded other = Load();
  EXPECT_EQ(other.written, pack());
  EXPECT_EQ(other.fingerprint, Load(false).fingerprint);
}

TEST_F(PackCacheTest, CutOrAltered_GivesTheSameBits) {
  const uint64_t expected = Load().fingerprint;
  const std::string whole = ReadFile(pack());
  const auto file = io::PackFile::Open(pack(), pack());
  ASSERT_TRUE(file.ok());
  const size_t head = (*file)->directory().Encode().size();
  std::vector<size_t> sizes = {1, io::kPackHeaderBytes - 1, io::kPackHeaderBytes, head - 1, head};
  for (const io::PackRun& run : (*file)->directory().runs) {
    for (const size_t at : {run.offset, run.offset + run.size_bytes}) {
      sizes.insert(sizes.end(), {at - 1, at});
    }
  }
  for (const size_t size : sizes) {
    if (size == whole.size()) continue;
    WriteFile(pack(), whole.substr(0, size));
    const Loaded loaded = Load();
    EXPECT_EQ(loaded.fingerprint, expected) << size;
    EXPECT_EQ(loaded.written, pack()) << size;
    EXPECT_THAT(loaded.warnings, ElementsAre(HasSubstr("not used"))) << size;
  }
  for (size_t at = 0; at < whole.size(); at += at < head ? 3 : 401) {
    std::string altered = whole;
    altered[at] = static_cast<char>(altered[at] ^ (1 << at % 8));
    WriteFile(pack(), altered);
    const Loaded loaded = Load();
    EXPECT_EQ(loaded.fingerprint, expected) << at;
    EXPECT_LE(loaded.warnings.size(), 1u);
    EXPECT_NE(loaded.written.empty(), loaded.read.empty()) << at;
  }
  WriteFile(pack(), "");
  EXPECT_EQ(Load().fingerprint, expected);
  fs::remove(pack());
  ASSERT_EQ(::mkfifo(pack().c_str(), 0600), 0);  // never waited for
  EXPECT_EQ(Load().fingerprint, expected);
}

TEST_F(PackCacheTest, FolderThatCannotBeWritten_UsesTheCacheFolder) {
  const uint64_t expected = Load(false).fingerprint;
  // Nothing can replace a folder that is not empty, whoever one is.
  fs::create_directories(pack() + "/x");
  const Loaded first = Load();
  EXPECT_THAT(first.written, HasSubstr(temp_ / "cache/packs/m-"));
  const Loaded second = Load();
  EXPECT_EQ(second.read, first.written);
  EXPECT_EQ(second.fingerprint, expected);
  EXPECT_THAT(second.warnings, IsEmpty());
  // Neither place: it loads, and says so.
  fs::remove_all(temp_ / "cache");
  temp_.Write("cache", "a file");
  const Loaded third = Load();
  EXPECT_EQ(third.fingerprint, expected);
  EXPECT_THAT(third.written + third.read, IsEmpty());
  EXPECT_FALSE(third.warnings.empty());
}

TEST_F(PackCacheTest, ReferenceBackendAndNoMmap) {
  LoadOptions reference, no_mmap;
  reference.backend = "reference";
  no_mmap.use_mmap = false;
  EXPECT_THAT(Load(true, reference).warnings, ElementsAre(HasSubstr("reference")));
  const uint64_t expected = Load(false).fingerprint;
  EXPECT_EQ(Load(true, no_mmap).written, pack());
  const Loaded second = Load(true, no_mmap);
  EXPECT_EQ(second.read, pack());
  EXPECT_EQ(second.fingerprint, expected);
}

TEST_F(PackCacheTest, OfAPrivateModel_IsPrivate) {
  const auto readers = [&](const std::string& path) {
    constexpr fs::perms kOthers = fs::perms::group_all | fs::perms::others_all;
    return (fs::status(path).permissions() & kOthers) != fs::perms::none;
  };
  fs::permissions(weights(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(Load().written, pack());
  EXPECT_FALSE(readers(pack()));
  // One that was made before the model became private.
  fs::permissions(pack(), fs::perms::group_read | fs::perms::others_read, fs::perm_options::add);
  EXPECT_EQ(Load().read, pack());
  EXPECT_FALSE(readers(pack()));
  // In the cache folder as well.
  fs::remove(pack());
  fs::create_directory(pack() + ".part");
  const std::string elsewhere = Load().written;
  ASSERT_THAT(elsewhere, HasSubstr("/cache/packs/"));
  EXPECT_FALSE(readers(elsewhere));
}

TEST_F(PackCacheTest, ManyProcessesAtOnce_AllGiveTheSameBits) {
  const uint64_t expected = Load(false).fingerprint;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool same = true;
      for (int round = 0; round < 4; ++round) {
        same = same && Load().fingerprint == expected;
        if (round == 1) fs::remove(pack());
      }
      ::_exit(same ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_FALSE(fs::exists(pack() + ".part"));
}

}  // namespace
}  // namespace rill
