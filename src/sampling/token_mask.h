// TokenMask: which tokens may come next. The door through which grammars reach the sampler.
//
// One object follows one choice. Calls come one at a time, from the engine's thread or,
// FillAllowed, from any thread of the runner; the masks of other choices are asked at the same
// time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "rill/status.h"

namespace rill::sampling {

class TokenMask {
 public:
  virtual ~TokenMask() = default;
  // Sets bit t % 32 of bits[t / 32] for each allowed token t. bits: [ceil(vocab_size / 32)], all 0
  // on entry. End-of-sequence ids are tokens like others: allowed where the output may end.
  virtual void FillAllowed(std::span<uint32_t> bits) const = 0;
  // The token that was chosen. An error ends the request.
  virtual Status Accept(int32_t token_id) = 0;
  // A second mask in the same state, for another choice.
  virtual std::unique_ptr<TokenMask> Clone() const = 0;
};

}  // namespace rill::sampling
