// The reference backend: memory from the operating system, weights read in place, no threads.
#include <sys/mman.h>

#include "ops/reference/kernels.h"
#include "ops/reference/weight.h"

namespace rill::ops {
namespace {

class MappedBuffer final : public Buffer {
 public:
  MappedBuffer(void* data, size_t mapped_bytes, int64_t size_bytes)
      : data_(data), mapped_bytes_(mapped_bytes), size_bytes_(size_bytes) {}
  ~MappedBuffer() override { ::munmap(data_, mapped_bytes_); }
  std::byte* data() override { return static_cast<std::byte*>(data_); }
  int64_t size_bytes() const override { return size_bytes_; }

 private:
  void* data_;
  size_t mapped_bytes_;
  int64_t size_bytes_;
};

class ImmediateStream final : public Stream {
 public:
  Status Synchronize() override { return OkStatus(); }
};

class ReferenceBackend final : public Backend {
 public:
  ReferenceBackend() {
#define OP(file, Name) ops_.file = reference::Reference##Name;
#include "ops/op_list.def"
#undef OP
  }
  std::string_view name() const override { return "reference"; }
  std::string Describe() const override { return "reference: f64 accumulation, 1 thread"; }
  const OpTable& ops() const override { return ops_; }
  Stream& stream() override { return stream_; }

  Result<std::unique_ptr<Buffer>> Allocate(int64_t size_bytes) override {
    if (size_bytes < 0) {
      return InvalidArgument("reference: cannot allocate " + std::to_string(size_bytes) + " bytes");
    }
    const size_t mapped_bytes = size_bytes == 0 ? 1 : static_cast<size_t>(size_bytes);
    void* data =
        ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      return ResourceExhausted("reference: cannot allocate " + std::to_string(size_bytes) +
                               " bytes");
    }
    return std::unique_ptr<Buffer>(std::make_unique<MappedBuffer>(data, mapped_bytes, size_bytes));
  }

  Result<std::unique_ptr<PackedWeight>> PackWeight(const WeightSource& source) override {
    return reference::ReferenceWeight::Make(source);
  }

 private:
  OpTable ops_;
  ImmediateStream stream_;
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace rill::ops
