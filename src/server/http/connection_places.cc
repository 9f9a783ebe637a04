#include "server/http/connection_places.h"

#include <new>

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

ConnectionPlaces::Handle ConnectionPlaces::Add(Entry entry, Group group) {
  entry.group = group;
  if (group == Group::kSilent) entry.from = Clock::now() + kSilentGrace;
  std::lock_guard lock(mutex_);
  std::list<Entry>& list = ListOf(group);
  return list.insert(list.end(), std::move(entry));
}

void ConnectionPlaces::Move(Handle entry, Group group) {
  ListOf(group).splice(ListOf(group).end(), ListOf(entry->group), entry);
  entry->group = group;
}

bool ConnectionPlaces::HeadBegins(Handle entry) {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) return false;
  entry->from = Clock::now() + kHeadGrace;
  Move(entry, Group::kHead);
  return true;
}

bool ConnectionPlaces::Remove(Handle entry) {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) return false;
  ListOf(entry->group).erase(entry);
  return true;
}

void ConnectionPlaces::Drop(Handle entry) noexcept {
  std::lock_guard lock(mutex_);
  if (entry->group == Group::kCondemned) {
    condemned_[entry->is_admin].fetch_sub(1);
    if (!entry->is_admin && !entry->authenticated) condemned_strangers_.fetch_sub(1);
  }
  ListOf(entry->group).erase(entry);
}

bool ConnectionPlaces::Find(bool is_admin, bool strangers_only, std::shared_ptr<Connection>& found,
                            Handle& entry) {
  const Clock::time_point now = Clock::now();
  for (const Group group : {Group::kIdle, Group::kSilent, Group::kHead}) {
    std::list<Entry>& list = ListOf(group);
    for (auto it = list.begin(); it != list.end() && it->from <= now; ++it) {
      if (it->is_admin != is_admin || (strangers_only && it->authenticated)) continue;
      found = it->connection.lock();
      if (!found) continue;
      entry = it;
      return true;
    }
  }
  return false;
}

bool ConnectionPlaces::Evict(bool is_admin, bool strangers_only) {
  // Each that turns out to be busy costs a look: not at thousands for one newcomer.
  constexpr int kMostTries = 16;
  for (int i = 0; i < kMostTries; ++i) {
    std::shared_ptr<Connection> victim;
    bool is_here = false;
    {
      std::lock_guard lock(mutex_);
      Handle entry;
      if (!Find(is_admin, strangers_only, victim, entry)) return false;
      is_here = victim->OnOwnThread();
      if (is_here) {
        Move(entry, entry->group);  // to the end: the next look takes another one
      } else {
        if (ListOf(Group::kCondemned).size() >= kMostCondemned) return false;
        Move(entry, Group::kCondemned);
        condemned_[is_admin].fetch_add(1);
        if (!is_admin && !entry->authenticated) condemned_strangers_.fetch_add(1);
      }
    }
    if (is_here && !victim->CloseIfUnused()) continue;
    if (!is_here) victim->TellCondemned();
    evicted_.fetch_add(1);
    return true;
  }
  return false;
}

}  // namespace rill::server
