// BodyBudget: bytes of request bodies that are held, shared out so that neither one API key nor
// large bodies keep others from sending theirs.
//
// An eighth of the limit is kept for the first 64 KiB of every body, which is all of most; what a
// body has beyond comes out of the rest. In each part the rule is the queue's (TextService): a
// tenant that holds h bytes gets more while h * (1 - share) <= share * free, free being what nobody
// holds then. One alone gets `share` of the part, further ones that share of what is left. A single
// body is never refused for its tenant's share. Requests without a tenant have all of it.
//
// Thread-safe. Memory: an entry for each tenant that holds something.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace rill::server {

class BodyBudget {
 public:
  static constexpr size_t kSmallBytes = 64u << 10;

  // `limit` and `max_body` in bytes; `share` in (0, 1].
  BodyBudget(size_t limit, size_t max_body, double share);

  // `bytes` more for a body that has `held` bytes so far. False, and nothing is taken, when they do
  // not fit. Throws std::bad_alloc, nothing taken.
  bool Reserve(const std::string& tenant, size_t held, size_t bytes);
  // All of a body.
  void Release(const std::string& tenant, size_t held) noexcept;

  size_t used_bytes() const;

 private:
  struct Part {
    size_t limit = 0;
    size_t one_body = 0;  // the most that a body takes of it
    size_t used = 0;
    std::map<std::string, size_t> of_tenant;  // but for ""
  };
  bool Fits(const Part& part, const std::string& tenant, size_t bytes) const;
  static void Take(Part& part, const std::string& tenant, size_t bytes);
  static void GiveBack(Part& part, const std::string& tenant, size_t bytes) noexcept;

  const double share_;
  mutable std::mutex mutex_;
  Part small_, large_;
};

}  // namespace rill::server
