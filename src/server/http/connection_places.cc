#include "server/http/connection_places.h"

namespace rill::server {

void ConnectionPlaces::Open(bool is_admin) {
  std::lock_guard lock(mutex_);
  ++open_[is_admin];
  if (!is_admin) ++strangers_;
}

void ConnectionPlaces::Authenticated(bool is_admin) {
  std::lock_guard lock(mutex_);
  if (!is_admin) --strangers_;
}

void ConnectionPlaces::Close(bool is_admin, bool authenticated, const Handle* entry) noexcept {
  const bool is_stranger = !is_admin && !authenticated;
  std::lock_guard lock(mutex_);
  --open_[is_admin];
  strangers_ -= is_stranger;
  if (entry == nullptr) return;
  if ((*entry)->group == Group::kCondemned) {
    --condemned_[is_admin];
    condemned_strangers_ -= is_stranger;
  }
  ListWith(**entry).erase(*entry);
}

bool ConnectionPlaces::IsFull(bool is_admin) const {
  std::lock_guard lock(mutex_);
  return open_[is_admin] >= max_[is_admin] + condemned_[is_admin];
}

bool ConnectionPlaces::StrangersFull() const {
  std::lock_guard lock(mutex_);
  return strangers_ >= max_strangers_ + condemned_strangers_;
}

uint64_t ConnectionPlaces::open(bool is_admin) const {
  std::lock_guard lock(mutex_);
  return open_[is_admin];
}

ConnectionPlaces::Who ConnectionPlaces::WhoIs(const Entry& entry) {
  return entry.is_admin ? kAdmin : entry.authenticated ? kMember : kStranger;
}

std::list<ConnectionPlaces::Entry>& ConnectionPlaces::ListWith(const Entry& entry) {
  Lists& lists = entry.aside == turn_ ? aside_ : lists_[entry.io_thread];
  return lists[WhoIs(entry)][static_cast<size_t>(entry.group)];
}

ConnectionPlaces::Handle ConnectionPlaces::Add(Entry entry, Group group) {
  std::list<Entry> added;  // memory is asked for without the lock
  added.push_back(std::move(entry));
  const Handle handle = added.begin();
  handle->group = group;
  std::lock_guard lock(mutex_);
  std::list<Entry>& list = ListWith(*handle);
  list.splice(list.end(), added);
  Move(handle, group);
  return handle;
}

// To the end, its grace begun anew: each list is in order of `order`, and, but for those that were
// set aside, of `from`.
void ConnectionPlaces::Move(Handle entry, Group group) {
  std::list<Entry>& from = ListWith(*entry);
  entry->group = group;
  entry->aside = 0;
  entry->order = ++order_;
  entry->from = {};
  if (group == Group::kSilent) entry->from = Clock::now() + kSilentGrace;
  if (group == Group::kSlow) entry->from = Clock::now() + kSlowGrace;
  std::list<Entry>& to = ListWith(*entry);
  to.splice(to.end(), from, entry);
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
  ListWith(*entry).erase(entry);
  return true;
}

void ConnectionPlaces::Condemn(Handle entry) {
  Move(entry, Group::kCondemned);
  ++condemned_[entry->is_admin];
  if (WhoIs(*entry) == kStranger) ++condemned_strangers_;
}

bool ConnectionPlaces::Find(Who who, Group group, bool only_here, std::shared_ptr<Holder>* found,
                            Handle* entry) {
  const Clock::time_point now = Clock::now();
  found->reset();
  for (size_t t = 0; t < (only_here ? 1 : lists_.size()); ++t) {
    std::list<Entry>& list = lists_[t][who][static_cast<size_t>(group)];
    for (auto it = list.begin(); it != list.end() && it->from <= now; ++it) {
      if (*found && (*entry)->order < it->order) break;
      std::shared_ptr<Holder> holder = it->holder.lock();
      if (!holder) continue;  // it is just being closed
      *found = std::move(holder);
      *entry = it;
      break;
    }
  }
  return *found != nullptr;
}

bool ConnectionPlaces::FindAny(bool is_admin, bool strangers_only, std::shared_ptr<Holder>* found,
                               Handle* entry) {
  // Others would have to be condemned.
  const bool only_here = condemned_[is_admin] >= kMostCondemned;
  for (const Group group : {Group::kIdle, Group::kSilent, Group::kSlow}) {
    if (Find(is_admin ? kAdmin : kStranger, group, only_here, found, entry)) return true;
    if (is_admin || strangers_only) continue;
    if (Find(kMember, group, only_here, found, entry)) return true;
  }
  return false;
}

void ConnectionPlaces::NewTurn() {
  std::lock_guard lock(mutex_);
  for (size_t who = 0; who < kNumWho; ++who) {
    for (size_t group = 0; group < kNumGroups; ++group) {
      // Behind the others: those that never have anything read do not hide them for long.
      std::list<Entry>& list = lists_[0][who][group];
      for (Entry& entry : aside_[who][group]) entry.order = ++order_;
      list.splice(list.end(), aside_[who][group]);
    }
  }
  ++turn_;
}

bool ConnectionPlaces::Evict(bool is_admin, bool strangers_only) {
  // Each that has to be set aside costs a look at its socket: not at thousands for one newcomer.
  constexpr int kMostTries = 16;
  for (int i = 0; i < kMostTries; ++i) {
    std::shared_ptr<Holder> victim;
    Handle entry;
    bool is_here = false;
    {
      std::lock_guard lock(mutex_);
      if (!FindAny(is_admin, strangers_only, &victim, &entry)) return false;
      is_here = entry->io_thread == 0;
      if (!is_here) Condemn(entry);
    }
    if (is_here && !victim->CloseIfNothingCame()) {
      std::lock_guard lock(mutex_);
      std::list<Entry>& from = ListWith(*entry);
      entry->aside = turn_;
      std::list<Entry>& to = ListWith(*entry);
      to.splice(to.end(), from, entry);
      continue;
    }
    if (!is_here) victim->TellCondemned();
    evicted_.fetch_add(1);
    return true;
  }
  return false;
}

}  // namespace rill::server
