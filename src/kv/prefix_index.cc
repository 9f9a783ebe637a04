#include "kv/prefix_index.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace rill::kv {

bool PrefixIndex::Insert(int32_t page, const PrefixKey& key, std::span<const int32_t> token_ids,
                         const std::string& owner) {
  if (contains(page) || !by_key_.emplace(key, page).second) return false;
  auto entry = std::make_unique<Entry>();
  entry->key = key;
  entry->token_ids.assign(token_ids.begin(), token_ids.end());
  entry->owner = owners_.try_emplace(owner).first;
  ++entry->owner->second.num_entries;
  entries_[static_cast<size_t>(page)] = std::move(entry);
  return true;
}

int32_t PrefixIndex::Find(const PrefixKey& key, std::span<const int32_t> token_ids) const {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return -1;
  const Entry& entry = At(found->second);
  if (!std::equal(token_ids.begin(), token_ids.end(), entry.token_ids.begin(),
                  entry.token_ids.end())) {
    return -1;
  }
  return found->second;
}

void PrefixIndex::CountOwner(OwnerMap::iterator owner, int32_t before) {
  const int32_t now = static_cast<int32_t>(owner->second.unused.size());
  if (before > 0) by_unused_.erase({before, owner->first});
  if (now > 0) by_unused_.insert({now, owner->first});
  num_unused_ += now - before;
}

void PrefixIndex::Unlink(Entry& entry) {
  const int32_t before = static_cast<int32_t>(entry.owner->second.unused.size());
  entry.owner->second.unused.erase(entry.place);
  entry.unused = false;
  CountOwner(entry.owner, before);
}

void PrefixIndex::Erase(int32_t page) {
  CHECK(contains(page)) << "page " << page;
  Entry& entry = At(page);
  if (entry.unused) Unlink(entry);
  by_key_.erase(entry.key);
  if (--entry.owner->second.num_entries == 0) owners_.erase(entry.owner);
  entries_[static_cast<size_t>(page)] = nullptr;
}

void PrefixIndex::MarkUnused(int32_t page) {
  Entry& entry = At(page);
  CHECK(!entry.unused) << "page " << page;
  std::list<int32_t>& unused = entry.owner->second.unused;
  const int32_t before = static_cast<int32_t>(unused.size());
  entry.place = unused.insert(unused.end(), page);
  entry.unused = true;
  CountOwner(entry.owner, before);
}

void PrefixIndex::MarkUsed(int32_t page) {
  CHECK(At(page).unused) << "page " << page;
  Unlink(At(page));
}

int32_t PrefixIndex::EvictOne() {
  CHECK(!by_unused_.empty()) << "no unused page";
  const int32_t page = owners_.at(by_unused_.rbegin()->second).unused.front();
  Erase(page);
  return page;
}

int32_t PrefixIndex::UnusedOf(const std::string& owner) const {
  const auto found = owners_.find(owner);
  return found == owners_.end() ? 0 : static_cast<int32_t>(found->second.unused.size());
}

Status PrefixIndex::CheckIntegrity() const {
  size_t num_entries = 0;
  int32_t num_unused = 0;
  for (size_t page = 0; page < entries_.size(); ++page) {
    if (entries_[page] == nullptr) continue;
    ++num_entries;
    const Entry& entry = *entries_[page];
    const auto found = by_key_.find(entry.key);
    if (found == by_key_.end() || found->second != static_cast<int32_t>(page)) {
      return Internal("prefix index: page " + std::to_string(page) + " is not found by its key");
    }
    if (entry.unused && *entry.place != static_cast<int32_t>(page)) {
      return Internal("prefix index: page " + std::to_string(page) + " is not at its place");
    }
    num_unused += entry.unused ? 1 : 0;
  }
  if (num_entries != by_key_.size()) return Internal("prefix index: keys without entries");
  size_t listed = 0, owned = 0;
  for (const auto& [name, owner] : owners_) {
    listed += owner.unused.size();
    owned += static_cast<size_t>(owner.num_entries);
    if (!owner.unused.empty() &&
        !by_unused_.contains({static_cast<int32_t>(owner.unused.size()), name})) {
      return Internal("prefix index: owner '" + name + "' is counted wrongly");
    }
  }
  if (static_cast<int32_t>(listed) != num_unused || num_unused != num_unused_ ||
      owned != num_entries) {
    return Internal("prefix index: " + std::to_string(num_unused) + " unused entries, " +
                    std::to_string(listed) + " listed, " + std::to_string(num_unused_) +
                    " counted");
  }
  return OkStatus();
}

}  // namespace rill::kv
