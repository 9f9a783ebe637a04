#include "server/http/peer_table.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace rill::server {

PeerTable::Peer& PeerTable::Get(const std::string& address) {
  auto found = peers_.find(address);
  if (found != peers_.end()) {
    std::list<std::string>& order = OrderOf(found->second);
    order.splice(order.end(), order, found->second.order);
    return found->second;
  }
  if (peers_.size() >= kMaxPeers && !order_.empty()) {
    peers_.erase(order_.front());
    order_.pop_front();
  }
  const auto order = order_.insert(order_.end(), address);
  try {
    Peer& peer = peers_[address];
    peer.order = order;
    return peer;
  } catch (const std::bad_alloc&) {
    order_.erase(order);
    throw;
  }
}

bool PeerTable::Admit(const std::string& address, int limit) {
  std::lock_guard lock(mutex_);
  Peer& peer = Get(address);
  if (limit > 0 && peer.connections >= limit) return false;
  if (++peer.connections == 1) connected_.splice(connected_.end(), order_, peer.order);
  return true;
}

void PeerTable::Release(const std::string& address) {
  std::lock_guard lock(mutex_);
  auto found = peers_.find(address);
  if (found == peers_.end() || found->second.connections == 0) return;
  if (--found->second.connections == 0) {
    order_.splice(order_.end(), connected_, found->second.order);
  }
}

void PeerTable::Leak(Peer& peer, Clock::time_point now, int per_minute) {
  const double seconds = std::chrono::duration<double>(now - peer.updated).count();
  peer.failures = std::max(0.0, peer.failures - seconds * per_minute / 60.0);
  peer.updated = now;
}

int PeerTable::AuthWait(const std::string& address, Clock::time_point now, int per_minute) {
  if (per_minute <= 0) return 0;
  std::lock_guard lock(mutex_);
  auto found = peers_.find(address);
  if (found == peers_.end()) return 0;
  Leak(found->second, now, per_minute);
  const double over = found->second.failures + 1 - per_minute;
  return over <= 0 ? 0 : static_cast<int>(std::ceil(over * 60.0 / per_minute));
}

void PeerTable::RecordWrongKey(const std::string& address, Clock::time_point now, int per_minute) {
  if (per_minute <= 0) return;
  std::lock_guard lock(mutex_);
  Peer& peer = Get(address);
  Leak(peer, now, per_minute);
  peer.failures += 1;
}

void PeerTable::RecordGoodKey(const std::string& address, uint64_t key) {
  std::lock_guard lock(mutex_);
  std::vector<uint64_t>& keys = Get(address).good_keys;
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return;
  if (keys.size() == kMaxGoodKeys) keys.erase(keys.begin());
  keys.push_back(key);
}

bool PeerTable::IsGoodKey(const std::string& address, uint64_t key) const {
  std::lock_guard lock(mutex_);
  auto found = peers_.find(address);
  if (found == peers_.end()) return false;
  const std::vector<uint64_t>& keys = found->second.good_keys;
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

size_t PeerTable::size() const {
  std::lock_guard lock(mutex_);
  return peers_.size();
}

}  // namespace rill::server
