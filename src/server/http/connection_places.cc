#include "server/http/connection_places.h"

#include <algorithm>
#include <array>

#include "server/http/connection.h"

namespace rill::server {

void ConnectionPlaces::Open(bool is_admin) {
  open_[is_admin].fetch_add(1);
  if (!is_admin) strangers_.fetch_add(1);
}

void ConnectionPlaces::Authenticated(bool is_admin) {
  if (!is_admin) strangers_.fetch_sub(1);
}

void ConnectionPlaces::Close(bool is_admin, bool authenticated) {
  open_[is_admin].fetch_sub(1);
  if (!is_admin && !authenticated) strangers_.fetch_sub(1);
}

// The open ones are read first: a condemned one that closes meanwhile counts as if it still was.
bool ConnectionPlaces::IsFull(bool is_admin) const {
  const uint64_t open = open_[is_admin];
  return open >= static_cast<uint64_t>(max_[is_admin]) + condemned_[is_admin];
}

bool ConnectionPlaces::StrangersFull() const {
  const uint64_t strangers = strangers_;
  return strangers >= static_cast<uint64_t>(max_strangers_) + condemned_strangers_;
}

std::list<ConnectionPlaces::Entry>& ConnectionPlaces::ListOf(const Entry& entry, Group group) {
  const Who who = entry.is_admin ? kAdmin : entry.authenticated ? kMember : kStranger;
  return lists_[who][static_cast<size_t>(group)];
}

ConnectionPlaces::Handle ConnectionPlaces::Add(Entry entry, Group group) {
  std::list<Entry>& list = ListOf(entry, group);
  std::lock_guard lock(mutex_);
  const Handle added = list.insert(list.end(), std::move(entry));
  added->group = group;
  Move(added, group);
  return added;
}

// To the end, its grace begun anew: each list is in order of `from`.
void ConnectionPlaces::Move(Handle entry, Group group) {
  if (group == Group::kSilent) entry->from = Clock::now() + kSilentGrace;
  if (group == Group::kSlow) entry->from = Clock::now() + kSlowGrace;
  if (group == Group::kIdle) entry->from = {};
  std::list<Entry>& to = ListOf(*entry, group);
  to.splice(to.end(), ListOf(*entry, entry->group), entry);
  entry->group = group;
}

bool ConnectionPlaces::Enter(Handle entry, Group group) {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) return false;
  Move(entry, group);
  return true;
}

bool ConnectionPlaces::Remove(Handle entry) {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) return false;
  ListOf(*entry, entry->group).erase(entry);
  return true;
}

void ConnectionPlaces::Drop(Handle entry) noexcept {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) {
    condemned_[entry->is_admin].fetch_sub(1);
    if (!entry->is_admin && !entry->authenticated) condemned_strangers_.fetch_sub(1);
  }
  ListOf(*entry, entry->group).erase(entry);
}

void ConnectionPlaces::Condemn(Handle entry) {
  Move(entry, Group::kCondemned);
  condemned_[entry->is_admin].fetch_add(1);
  if (!entry->is_admin && !entry->authenticated) condemned_strangers_.fetch_add(1);
}

bool ConnectionPlaces::Find(Who who, Group group, bool only_here,
                            std::span<const Connection* const> busy,
                            std::shared_ptr<Connection>& found, Handle& entry) {
  // With several threads every few belong to this one.
  constexpr int kMostLooks = 256;
  const Clock::time_point now = Clock::now();
  std::list<Entry>& list = lists_[who][static_cast<size_t>(group)];
  int looks = 0;
  for (auto it = list.begin(); it != list.end() && it->from <= now; ++it) {
    if (++looks > kMostLooks) break;
    found = it->connection.lock();
    if (!found || (only_here && !found->OnOwnThread())) continue;
    if (std::find(busy.begin(), busy.end(), found.get()) != busy.end()) continue;
    entry = it;
    return true;
  }
  return false;
}

bool ConnectionPlaces::FindAny(bool is_admin, bool strangers_only,
                               std::span<const Connection* const> busy,
                               std::shared_ptr<Connection>& found, Handle& entry) {
  // Others would have to be condemned.
  const bool only_here = condemned_[is_admin] >= kMostCondemned;
  for (const Group group : {Group::kIdle, Group::kSilent, Group::kSlow}) {
    if (Find(is_admin ? kAdmin : kStranger, group, only_here, busy, found, entry)) return true;
    if (is_admin || strangers_only) continue;
    if (Find(kMember, group, only_here, busy, found, entry)) return true;
  }
  return false;
}

bool ConnectionPlaces::Evict(bool is_admin, bool strangers_only) {
  // Each that turns out to be busy costs a look: not at thousands for one newcomer.
  constexpr size_t kMostTries = 16;
  std::array<const Connection*, kMostTries> busy;
  for (size_t i = 0; i < kMostTries; ++i) {
    std::shared_ptr<Connection> victim;
    bool is_here = false;
    {
      std::lock_guard lock(mutex_);
      Handle entry;
      if (!FindAny(is_admin, strangers_only, {busy.data(), i}, victim, entry)) return false;
      is_here = victim->OnOwnThread();
      if (!is_here) Condemn(entry);
    }
    busy[i] = victim.get();
    if (is_here && !victim->CloseIfNothingCame()) continue;
    if (!is_here) victim->TellCondemned();
    evicted_.fetch_add(1);
    return true;
  }
  return false;
}

}  // namespace rill::server
