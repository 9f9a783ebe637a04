// PeerTable: what is remembered of each client address: connections now, and wrong keys lately.
//
// Bounded: at most kMaxPeers addresses, or as many as have a connection; of the others the one that
// was heard of longest ago goes.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace rill::server {

class PeerTable {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxPeers = 65'536;

  // An IPv6 client has a whole /64: `address` is an IPv4 address, a /64 prefix, or "unix".
  // False when `limit` connections of that address are open (limit 0: no limit). An admitted
  // connection must be released.
  bool Admit(const std::string& address, int limit);
  void Release(const std::string& address);

  // Wrong keys: `per_minute` at once, then as many a minute. A key that has been right from this
  // address before is not throttled, so one broken client behind a shared address does not lock
  // the others out. `key`: an id that no other key ever has. Returns seconds to wait, 0 = go on.
  int AuthWait(const std::string& address, Clock::time_point now, int per_minute);
  void RecordWrongKey(const std::string& address, Clock::time_point now, int per_minute);
  void RecordGoodKey(const std::string& address, uint64_t key);
  bool IsGoodKey(const std::string& address, uint64_t key) const;

  size_t size() const;

 private:
  struct Peer {
    int connections = 0;
    double failures = 0;  // leaks at per_minute / 60 per second
    Clock::time_point updated;
    std::vector<uint64_t> good_keys;  // ids, at most kMaxGoodKeys, newest last
    std::list<std::string>::iterator order;
  };
  static constexpr size_t kMaxGoodKeys = 64;
  Peer& Get(const std::string& address);
  std::list<std::string>& OrderOf(const Peer& peer) {
    return peer.connections > 0 ? connected_ : order_;
  }
  static void Leak(Peer& peer, Clock::time_point now, int per_minute);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Peer> peers_;
  // Least recently used first: those without a connection, which may be forgotten, and the others.
  std::list<std::string> order_, connected_;
};

}  // namespace rill::server
