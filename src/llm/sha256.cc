#include "llm/sha256.h"

#include <openssl/evp.h>

#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/check.h"

namespace rill::llm {
namespace {

constexpr size_t kBufferBytes = 1u << 20;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string Hex(const unsigned char* bytes, size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < size; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;

Context Begin(const EVP_MD* algorithm) {
  Context context(EVP_MD_CTX_new());
  CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), algorithm, nullptr) == 1)
      << "OpenSSL has no such digest";
  return context;
}

std::string End(const Context& context) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(context.get(), digest, &size) == 1);
  return Hex(digest, size);
}

// Feeds a file to a digest.
Status HashFile(const std::string& path, EVP_MD_CTX* context,
                const std::function<bool(uint64_t)>& keep_going) {
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (!file) return NotFound(path + ": cannot be opened");
  std::vector<char> buffer(kBufferBytes);
  uint64_t done_bytes = 0;
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    EVP_DigestUpdate(context, buffer.data(), got);
    done_bytes += got;
    if (keep_going && !keep_going(done_bytes)) return Cancelled(path + ": hashing was stopped");
  }
  if (std::ferror(file.get())) return DataLoss(path + ": cannot be read");
  return OkStatus();
}

}  // namespace

struct Sha256::State {
  Context context = Begin(EVP_sha256());
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Reset() {
  state_->context = Begin(EVP_sha256());
}

void Sha256::Update(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Finish() {
  return End(state_->context);
}

Result<std::string> Sha256OfFile(const std::string& path,
                                 const std::function<bool(uint64_t)>& keep_going) {
  const Context context = Begin(EVP_sha256());
  RILL_RETURN_IF_ERROR(HashFile(path, context.get(), keep_going));
  return End(context);
}

Result<std::string> GitBlobId(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return NotFound(path + ": " + error.message());
  const Context context = Begin(EVP_sha1());
  const std::string header = "blob " + std::to_string(size);
  EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1);  // with its NUL
  RILL_RETURN_IF_ERROR(HashFile(path, context.get(), {}));
  return End(context);
}

}  // namespace rill::llm
