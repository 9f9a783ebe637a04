// AnswerBudget: what answers take before they are sent. A small request can ask for a large answer
// (prompts x choices x positions x alternatives), and the text of all of it is in memory at once.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/errors.h"

namespace rill::server {

class AnswerBudget {
 public:
  // Bytes, as they will be written. One answer: 400; all together: 503.
  static constexpr int64_t kMaxAnswerBytes = int64_t{64} << 20;
  static constexpr int64_t kMaxBytes = int64_t{512} << 20;
  // Of a token with its log-probability, and of each alternative: name, number, punctuation.
  static constexpr int64_t kTokenBytes = 64;
  // Of a token id and its comma.
  static constexpr int64_t kIdBytes = 8;

  enum class Verdict { kFits, kTooLarge, kBusy };

  // What one answer holds, until it is sent or given up. Thread-safe.
  class Hold {
   public:
    explicit Hold(AnswerBudget& budget) : budget_(budget) {}
    ~Hold() { budget_.used_ -= bytes_; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // Takes `bytes` more; takes nothing when the verdict is not kFits.
    Verdict Grow(int64_t bytes) {
      if (bytes > kMaxAnswerBytes || bytes_ + bytes > kMaxAnswerBytes) return Verdict::kTooLarge;
      if (budget_.used_.fetch_add(bytes) + bytes > kMaxBytes) {
        budget_.used_ -= bytes;
        return Verdict::kBusy;
      }
      bytes_ += bytes;
      return Verdict::kFits;
    }

    int64_t bytes() const { return bytes_; }

   private:
    AnswerBudget& budget_;
    std::atomic<int64_t> bytes_{0};
  };

  int64_t used_bytes() const { return used_; }

 private:
  std::atomic<int64_t> used_{0};
};

// What is told of an answer that does not fit.
ApiError AnswerError(AnswerBudget::Verdict verdict);

}  // namespace rill::server
