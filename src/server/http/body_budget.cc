#include "server/http/body_budget.h"

#include <algorithm>

namespace rill::server {

BodyBudget::BodyBudget(size_t limit, size_t max_body, double share) : share_(share) {
  small_.limit = std::min(limit, std::max(limit / 8, kSmallBytes));
  small_.one_body = kSmallBytes;
  large_.limit = limit - small_.limit;
  large_.one_body = max_body - std::min(max_body, kSmallBytes);
}

bool BodyBudget::Fits(const Part& part, const std::string& tenant, size_t bytes) const {
  if (bytes == 0) return true;
  if (bytes > part.limit - part.used) return false;
  if (tenant.empty()) return true;
  const auto found = part.of_tenant.find(tenant);
  const size_t holds = (found == part.of_tenant.end() ? 0 : found->second) + bytes;
  if (holds <= part.one_body) return true;
  const size_t free = part.limit - part.used - bytes;
  return static_cast<double>(holds) * (1 - share_) <= share_ * static_cast<double>(free);
}

void BodyBudget::Take(Part& part, const std::string& tenant, size_t bytes) {
  if (bytes == 0) return;
  if (!tenant.empty()) part.of_tenant[tenant] += bytes;
  part.used += bytes;
}

void BodyBudget::GiveBack(Part& part, const std::string& tenant, size_t bytes) noexcept {
  part.used -= bytes;
  const auto found = part.of_tenant.find(tenant);
  if (found == part.of_tenant.end()) return;
  found->second -= bytes;
  if (found->second == 0) part.of_tenant.erase(found);
}

bool BodyBudget::Reserve(const std::string& tenant, size_t held, size_t bytes) {
  const size_t small = std::min(held + bytes, kSmallBytes) - std::min(held, kSmallBytes);
  const size_t large = bytes - small;
  const std::lock_guard lock(mutex_);
  if (!Fits(small_, tenant, small) || !Fits(large_, tenant, large)) return false;
  Take(small_, tenant, small);
  try {
    Take(large_, tenant, large);
  } catch (...) {
    GiveBack(small_, tenant, small);
    throw;
  }
  return true;
}

void BodyBudget::Release(const std::string& tenant, size_t held) noexcept {
  if (held == 0) return;
  const size_t small = std::min(held, kSmallBytes);
  const std::lock_guard lock(mutex_);
  GiveBack(small_, tenant, small);
  if (held > small) GiveBack(large_, tenant, held - small);
}

size_t BodyBudget::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return small_.used + large_.used;
}

}  // namespace rill::server
