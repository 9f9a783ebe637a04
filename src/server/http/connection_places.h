// ConnectionPlaces: how many connections there are, and which of them may go to make room.
//
// Connections of the main listeners and of the admin ones have limits of their own and make room
// for their own kind only. What may go has no request that anybody works at. In this order:
//   idle    answered before, and silent since; at once
//   silent  has not sent a byte yet, or is in its TLS handshake; kSilentGrace after it came, and
//           after its handshake
//   slow    a part of a head has come (over TLS: of a record), or the answer is out and what still
//           comes is read away, or a client without a key, where others have one, has taken less
//           than 1 KiB of its answer in a second; kSlowGrace after that: clients send heads whole
//           and read what they are told
// In each those without a valid key go first, and of these the oldest. (Where descriptors run out,
// connections of the main listeners make room for all.)
//
// A victim of the accepting thread, which is I/O thread 0, is closed before Evict() returns; one to
// which bytes have come that nobody has read yet stays (Holder::CloseIfNothingCame), is set aside
// until the next NewTurn(), then behind the others, and another one goes. A victim of another
// thread is condemned: it does not count from then on, and cannot begin a request any more. It
// closes when its thread comes to it; what has come until then is read, and a whole request
// answered with 503, but in a TLS handshake and behind an answer that is not taken. At most
// kMostCondemned of a kind are condemned and still open; beside so many only those of thread 0 make
// room.
//
// So with `limit` places of a kind at most limit + kMostCondemned are open at any time, and exactly
// `limit` with one I/O thread.
//
// Threads: any, but Open, IsFull, StrangersFull, NewTurn and Evict are of the one that accepts.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

namespace rill::server {

class ConnectionPlaces {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSilentGrace{100}, kSlowGrace{1000};
  static constexpr uint64_t kMostCondemned = 24;

  // Who has a place: a connection.
  class Holder {
   public:
    // On its own thread: closes it, unless bytes have come that somebody would read; false then.
    virtual bool CloseIfNothingCame() = 0;
    // Any thread: it is condemned.
    virtual void TellCondemned() = 0;

   protected:
    ~Holder() = default;
  };

  enum class Group : uint8_t { kIdle, kSilent, kSlow, kCondemned };
  // One that may go.
  struct Entry {
    std::weak_ptr<Holder> holder;
    size_t io_thread = 0;
    bool is_admin = false;
    bool authenticated = false;
    Group group = Group::kIdle;
    Clock::time_point from = {};  // when it may go
    uint64_t order = 0;           // of entering its group
    uint64_t aside = 0;           // the turn in which it was set aside
  };
  using Handle = std::list<Entry>::iterator;

  ConnectionPlaces(int max_main, int max_admin, int max_strangers, int io_threads)
      : max_{static_cast<uint64_t>(max_main), static_cast<uint64_t>(max_admin)},
        max_strangers_(static_cast<uint64_t>(max_strangers)),
        lists_(static_cast<size_t>(io_threads)) {}

  // A connection without a key yet is a stranger, but on an admin listener.
  void Open(bool is_admin);
  void Authenticated(bool is_admin);
  // Its descriptor is closed. `entry`, if it has one, ends.
  void Close(bool is_admin, bool authenticated, const Handle* entry) noexcept;

  bool IsFull(bool is_admin) const;
  bool StrangersFull() const;
  uint64_t open(bool is_admin) const;
  uint64_t evicted() const { return evicted_; }

  // `group` of these two is not kCondemned; the grace of silent and slow ones begins.
  Handle Add(Entry entry, Group group);
  // False when it is condemned.
  bool Enter(Handle entry, Group group);
  // It has a request: the handle ends. False when it is condemned; then it stays valid.
  bool Remove(Handle entry);

  // Connections may have had their turn: those that were set aside are asked again.
  void NewTurn();
  // Makes room for one more of this kind; false when none can go. With `strangers_only` those that
  // have shown a valid key are spared.
  bool Evict(bool is_admin, bool strangers_only);

 private:
  enum Who : uint8_t { kStranger, kMember, kAdmin, kNumWho };
  static constexpr size_t kNumGroups = 4;
  using Lists = std::array<std::array<std::list<Entry>, kNumGroups>, kNumWho>;

  // All: mutex_ is held.
  static Who WhoIs(const Entry& entry);
  std::list<Entry>& ListWith(const Entry& entry);
  void Move(Handle entry, Group group);
  void Condemn(Handle entry);
  // The oldest that may go, into *found and *entry; false when there is none.
  bool Find(Who who, Group group, bool only_here, std::shared_ptr<Holder>* found, Handle* entry);
  bool FindAny(bool is_admin, bool strangers_only, std::shared_ptr<Holder>* found, Handle* entry);

  const uint64_t max_[2];  // [is_admin]
  const uint64_t max_strangers_;
  std::atomic<uint64_t> evicted_{0};
  mutable std::mutex mutex_;
  uint64_t open_[2] = {0, 0};
  uint64_t strangers_ = 0;
  // Of the open ones, and of the strangers.
  uint64_t condemned_[2] = {0, 0};
  uint64_t condemned_strangers_ = 0;
  uint64_t order_ = 0, turn_ = 1;
  std::vector<Lists> lists_;  // [I/O thread], the oldest first
  Lists aside_;               // of thread 0, in this turn
};

}  // namespace rill::server
