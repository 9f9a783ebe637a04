// ConnectionPlaces: how many connections there are, and which of them may go to make room.
//
// Two kinds with limits of their own: connections of the main listeners, and of the admin ones.
// What may go has no request under way. In this order:
//   idle    answered before, and silent since; at once
//   silent  has not sent a byte yet, is in its TLS handshake, or its answer is out and it is
//           closing; once it is kSilentGrace old
//   head    a part of a head has come; once that is kHeadGrace old: clients send heads whole
// and of each the oldest.
//
// A victim of the calling thread is closed before Evict() returns, or is found to have sent what
// nobody has read yet, and stays. One of another thread is condemned: it does not count from then
// on, and cannot begin a request any more. It closes as soon as its thread comes to it, after a 503
// when a request was on its way; at most kMostCondemned at a time.
//
// So with `limit` places of a kind there are at most limit + kMostCondemned open at any time, as
// long as one thread accepts.
//
// Threads: any, but IsFull, StrangersFull, Evict and Open are of the one that accepts.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

namespace rill::server {

class Connection;

class ConnectionPlaces {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSilentGrace{100}, kHeadGrace{1000};
  static constexpr size_t kMostCondemned = 32;

  ConnectionPlaces(int max_main, int max_admin, int max_strangers)
      : max_{max_main, max_admin}, max_strangers_(max_strangers) {}

  // A connection without a key yet is a stranger, but on an admin listener.
  void Open(bool is_admin);
  void Authenticated(bool is_admin);
  void Close(bool is_admin, bool authenticated);

  bool IsFull(bool is_admin) const;
  bool StrangersFull() const;
  uint64_t open(bool is_admin) const { return open_[is_admin]; }
  uint64_t evicted() const { return evicted_; }

  // One that may go.
  enum class Group : uint8_t { kIdle, kSilent, kHead, kCondemned };
  struct Entry {
    std::weak_ptr<Connection> connection;
    bool is_admin = false;
    bool authenticated = false;
    Group group = Group::kIdle;
    Clock::time_point from = {};  // when it may go
  };
  using Handle = std::list<Entry>::iterator;

  // Into `group`, which is not kCondemned.
  Handle Add(Entry entry, Group group);
  // A part of a head has come. False when it is condemned.
  bool HeadBegins(Handle entry);
  // It has a request: the handle ends. False when it is condemned; then it stays valid.
  bool Remove(Handle entry);
  // It is closed: the handle ends.
  void Drop(Handle entry) noexcept;

  // Makes room for one more of this kind; false when none can go. With `strangers_only` those that
  // have shown a valid key are spared.
  bool Evict(bool is_admin, bool strangers_only);

 private:
  static constexpr size_t kNumGroups = 4;
  std::list<Entry>& ListOf(Group group) { return groups_[static_cast<size_t>(group)]; }
  // These two: mutex_ is held.
  bool Find(bool is_admin, bool strangers_only, std::shared_ptr<Connection>& found, Handle& entry);
  void Move(Handle entry, Group group);

  const int max_[2];  // [is_admin]
  const int max_strangers_;
  std::atomic<uint64_t> open_[2] = {0, 0};
  std::atomic<uint64_t> strangers_{0}, evicted_{0};
  // Of the open ones, and of the strangers.
  std::atomic<uint64_t> condemned_[2] = {0, 0};
  std::atomic<uint64_t> condemned_strangers_{0};
  std::mutex mutex_;
  std::list<Entry> groups_[kNumGroups];  // the oldest first
};

}  // namespace rill::server
