// ConnectionPlaces: how many connections there are, and which of them may go to make room.
//
// Connections of the main listeners and of the admin ones have limits of their own and make room
// for their own kind only. What may go has no request under way. In this order:
//   idle    answered before, and silent since; at once
//   silent  has not sent a byte yet, or is in its TLS handshake; kSilentGrace after it came, and
//           after its handshake
//   slow    a part of a head has come, or the answer is out and what still comes is read away;
//           kSlowGrace after that began: clients send heads whole
// In each those without a valid key go first, and of these the oldest. (Where descriptors run out,
// connections of the main listeners make room for all.)
//
// A victim of the calling thread is closed before Evict() returns; one to which bytes have come
// that nobody has read yet stays, unless they are only read away, and another one goes. A victim of
// another thread is condemned: it does not count from then on, and cannot begin a request any more.
// It closes when its thread comes to it, in a TLS handshake at once; else what has come is read,
// and a request answered with 503. At most kMostCondemned of a kind are condemned and still open.
//
// So with `limit` places of a kind at most limit + kMostCondemned are open at any time, and exactly
// `limit` with one I/O thread.
//
// Threads: any, but Open, IsFull, StrangersFull and Evict are of the one that accepts.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>

namespace rill::server {

class Connection;

class ConnectionPlaces {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSilentGrace{100}, kSlowGrace{1000};
  static constexpr uint64_t kMostCondemned = 24;

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

  enum class Group : uint8_t { kIdle, kSilent, kSlow, kCondemned };
  // One that may go.
  struct Entry {
    std::weak_ptr<Connection> connection;
    bool is_admin = false;
    bool authenticated = false;
    Group group = Group::kIdle;
    Clock::time_point from = {};  // when it may go
  };
  using Handle = std::list<Entry>::iterator;

  // `group` of these two is not kCondemned; the grace of silent and slow ones begins.
  Handle Add(Entry entry, Group group);
  // False when it is condemned.
  bool Enter(Handle entry, Group group);
  // It has a request: the handle ends. False when it is condemned; then it stays valid.
  bool Remove(Handle entry);
  // It is closed: the handle ends.
  void Drop(Handle entry) noexcept;

  // Makes room for one more of this kind; false when none can go. With `strangers_only` those that
  // have shown a valid key are spared.
  bool Evict(bool is_admin, bool strangers_only);

 private:
  enum Who : uint8_t { kStranger, kMember, kAdmin, kNumWho };
  static constexpr size_t kNumGroups = 4;

  // All but ListOf: mutex_ is held.
  std::list<Entry>& ListOf(const Entry& entry, Group group);
  // `busy`: looked at before, for the same newcomer.
  bool Find(Who who, Group group, bool only_here, std::span<const Connection* const> busy,
            std::shared_ptr<Connection>& found, Handle& entry);
  bool FindAny(bool is_admin, bool strangers_only, std::span<const Connection* const> busy,
               std::shared_ptr<Connection>& found, Handle& entry);
  void Move(Handle entry, Group group);
  void Condemn(Handle entry);

  const int max_[2];  // [is_admin]
  const int max_strangers_;
  std::atomic<uint64_t> open_[2] = {0, 0};
  std::atomic<uint64_t> strangers_{0}, evicted_{0};
  // Of the open ones, and of the strangers.
  std::atomic<uint64_t> condemned_[2] = {0, 0};
  std::atomic<uint64_t> condemned_strangers_{0};
  std::mutex mutex_;
  std::list<Entry> lists_[kNumWho][kNumGroups];  // the oldest first
};

}  // namespace rill::server
