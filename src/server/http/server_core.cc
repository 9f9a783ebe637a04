#include "server/http/server_core.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "base/small_file.h"
#include "server/errors.h"

namespace rill::server {
namespace {

constexpr size_t kMaxPemBytes = size_t{1} << 20;

// While it lives a passphrase is asked of nobody (by default a terminal is), and that one would
// have been needed is told.
class NoPassphrase {
 public:
  explicit NoPassphrase(SSL_CTX* context) : context_(context) {
    SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void* asked) {
      *static_cast<bool*>(asked) = true;
      return -1;
    });
    SSL_CTX_set_default_passwd_cb_userdata(context, &asked_);
  }
  ~NoPassphrase() {
    // Asio takes what is left here for an object of its own.
    SSL_CTX_set_default_passwd_cb_userdata(context_, nullptr);
  }
  NoPassphrase(const NoPassphrase&) = delete;
  NoPassphrase& operator=(const NoPassphrase&) = delete;
  bool asked() const { return asked_; }

 private:
  SSL_CTX* const context_;
  bool asked_ = false;
};

Status UsePem(boost::asio::ssl::context& context, const std::string& certificate_path,
              const std::string& key_path) {
  RILL_ASSIGN_OR_RETURN(const std::string chain, ReadSmallFile(certificate_path, kMaxPemBytes));
  RILL_ASSIGN_OR_RETURN(std::string key, ReadSmallFile(key_path, kMaxPemBytes));
  const NoPassphrase passphrase(context.native_handle());
  boost::system::error_code error;
  context.use_certificate_chain(boost::asio::buffer(chain), error);
  if (error) {
    OPENSSL_cleanse(key.data(), key.size());
    return InvalidArgument(certificate_path + ": not a PEM certificate chain (" + error.message() +
                           ")");
  }
  context.use_private_key(boost::asio::buffer(key), boost::asio::ssl::context::pem, error);
  OPENSSL_cleanse(key.data(), key.size());
  if (!error) return OkStatus();
  if (passphrase.asked()) {
    return InvalidArgument(key_path +
                           ": encrypted keys are not supported: expected one without a passphrase "
                           "(openssl pkey -in FILE -out NEW)");
  }
  return InvalidArgument(key_path + ": not the private key of " + certificate_path + " in PEM (" +
                         error.message() + ")");
}

}  // namespace

std::string ServerCore::ErrorBody(const HttpFault& fault) const {
  if (options_.error_body) return options_.error_body(fault.status, fault.code, fault.message);
  return MakeError(fault.status, fault.code, fault.message).Body();
}

void ServerCore::Warn(const std::string& text) const {
  if (options_.on_warning) options_.on_warning(text);
}

std::shared_ptr<boost::asio::ssl::context> ServerCore::tls() const {
  std::lock_guard lock(tls_mutex_);
  return tls_;
}

Result<std::shared_ptr<boost::asio::ssl::context>> ServerCore::ReadTls() const {
  namespace ssl = boost::asio::ssl;
  if (options_.tls_certificate.empty()) return FailedPrecondition("TLS is not configured");
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  // Idle connections give their buffers back.
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(
      native,
      [](SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
         unsigned int in_length, void*) {
        static constexpr unsigned char kHttp11[] = "\x08http/1.1";
        unsigned char* selected = nullptr;
        if (SSL_select_next_proto(&selected, out_length, kHttp11, sizeof(kHttp11) - 1, in,
                                  in_length) != OPENSSL_NPN_NEGOTIATED) {
          return SSL_TLSEXT_ERR_ALERT_FATAL;
        }
        *out = selected;
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  RILL_RETURN_IF_ERROR(UsePem(*context, options_.tls_certificate, options_.tls_private_key));
  if (SSL_CTX_check_private_key(native) != 1) {
    return InvalidArgument(options_.tls_private_key + ": does not belong to " +
                           options_.tls_certificate);
  }
  return context;
}

void ServerCore::UseTls(std::shared_ptr<boost::asio::ssl::context> tls) {
  std::lock_guard lock(tls_mutex_);
  tls_ = std::move(tls);
}

ConnectionSlot::ConnectionSlot(std::shared_ptr<ServerCore> core, std::string address, bool is_admin)
    : core_(std::move(core)), address_(std::move(address)), is_admin_(is_admin) {
  core_->places().Open(is_admin_);
}

void ConnectionSlot::Authenticated() {
  if (!authenticated_ && core_) core_->places().Authenticated(is_admin_);
  authenticated_ = true;
}

void ConnectionSlot::Release(const ConnectionPlaces::Handle* entry) noexcept {
  if (!core_) return;
  if (!address_.empty()) core_->gate().peers().Release(address_);
  core_->places().Close(is_admin_, authenticated_, entry);
  core_.reset();
}

void ServerCore::RequestEnds() {
  if (counters_.requests_now.fetch_sub(1) != 1) return;
  std::lock_guard lock(wait_mutex_);
  wait_.notify_all();
}

bool ServerCore::WaitIdle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(wait_mutex_);
  return wait_.wait_until(lock, deadline, [this] { return counters_.requests_now == 0; });
}

std::string NewRequestId() {
  unsigned char bytes[16];
  std::string id = "req_";
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return id + "0";
  static constexpr char kHex[] = "0123456789abcdef";
  for (unsigned char byte : bytes) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

}  // namespace rill::server
