#include "engine/simulator_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "sampling/row_passes.h"

namespace rill::engine {

void HashLogits(uint64_t hash, std::span<float> logits) {
  uint64_t state = hash;
  for (float& logit : logits) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t z = (state ^ (state >> 33)) * 0xFF51AFD7ED558CCDu;
    logit = static_cast<float>(z >> 44) * 0x1p-17f;
  }
}

HashRunner::HashRunner(const RunnerInfo& info) : info_(info) {
  memory_.resize(static_cast<size_t>(info.num_pages) * static_cast<size_t>(info.page_size));
}

HashRunner::Slot& HashRunner::At(const StepPlan& plan, int32_t seq, int32_t position) {
  const int32_t page =
      plan.page_table[static_cast<size_t>(seq * plan.max_pages + position / info_.page_size)];
  return memory_[static_cast<size_t>(page) * static_cast<size_t>(info_.page_size) +
                 static_cast<size_t>(position % info_.page_size)];
}

Status HashRunner::CheckPlan(const StepPlan& plan) const {
  const size_t num_seqs = plan.sequences.size();
  if (plan.q_offsets.size() != num_seqs + 1 || plan.kv_lens.size() != num_seqs ||
      plan.positions.size() != plan.token_ids.size() || plan.q_offsets.front() != 0 ||
      plan.q_offsets.back() != plan.num_tokens() ||
      plan.page_table.size() != num_seqs * static_cast<size_t>(plan.max_pages)) {
    return Internal("plan: sizes do not fit together");
  }
  if (plan.num_tokens() > info_.max_step_tokens || plan.num_rows() > info_.max_step_rows) {
    return Internal(fmt::format("plan: {} tokens, {} rows of logits; the limits are {} and {}",
                                plan.num_tokens(), plan.num_rows(), info_.max_step_tokens,
                                info_.max_step_rows));
  }
  int32_t rows = 0;
  for (size_t s = 0; s < num_seqs; ++s) {
    const int32_t q_len = plan.q_offsets[s + 1] - plan.q_offsets[s];
    const int32_t kv_len = plan.kv_lens[s];
    if (q_len < 1 || kv_len < q_len || kv_len > info_.max_context) {
      return Internal(fmt::format("plan: sequence {}: {} tokens, {} positions", s, q_len, kv_len));
    }
    if (static_cast<int32_t>(s) < plan.num_decodes && q_len != 1) {
      return Internal(fmt::format("plan: decode {} has {} tokens", s, q_len));
    }
    for (int32_t i = 0; i < q_len; ++i) {
      if (plan.positions[static_cast<size_t>(plan.q_offsets[s] + i)] != kv_len - q_len + i) {
        return Internal(fmt::format("plan: sequence {}: wrong position of token {}", s, i));
      }
    }
    for (int32_t i = 0; i * info_.page_size < kv_len; ++i) {
      const int32_t page =
          plan.page_table[s * static_cast<size_t>(plan.max_pages) + static_cast<size_t>(i)];
      if (page < 0 || page >= info_.num_pages) {
        return Internal(fmt::format("plan: sequence {}: page {} is {}", s, i, page));
      }
    }
    const PlannedSequence& planned = plan.sequences[s];
    if (planned.num_prompt_rows > 0) {
      if (planned.first_prompt_row != rows || planned.num_prompt_rows > q_len) {
        return Internal(fmt::format("plan: sequence {}: wrong rows of the prompt", s));
      }
      for (int32_t i = 0; i < planned.num_prompt_rows; ++i, ++rows) {
        if (plan.logit_rows[static_cast<size_t>(rows)] != plan.q_offsets[s] + i) {
          return Internal(fmt::format("plan: sequence {}: wrong row of the prompt", s));
        }
      }
    }
    if (planned.logit_row < 0) continue;
    if (planned.logit_row != rows ||
        plan.logit_rows[static_cast<size_t>(rows)] != plan.q_offsets[s + 1] - 1) {
      return Internal(fmt::format("plan: sequence {}: wrong row of logits", s));
    }
    ++rows;
  }
  return rows == plan.num_rows() ? OkStatus() : Internal("plan: a row of logits has no sequence");
}

Status HashRunner::Run(const StepPlan& plan, const StepOutput& output) {
  if (Status status = CheckPlan(plan); !status.ok()) return status;
  if (before_run) {
    if (Status status = before_run(plan); !status.ok()) return status;
  }
  for (const kv::PageCopy& copy : plan.copies) {
    std::copy_n(memory_.begin() + int64_t{copy.from} * info_.page_size, info_.page_size,
                memory_.begin() + int64_t{copy.to} * info_.page_size);
  }
  for (int32_t s = 0; s < plan.num_seqs(); ++s) {
    for (int32_t i = plan.q_offsets[static_cast<size_t>(s)];
         i < plan.q_offsets[static_cast<size_t>(s) + 1]; ++i) {
      const int32_t position = plan.positions[static_cast<size_t>(i)];
      At(plan, s, position) = {plan.token_ids[static_cast<size_t>(i)], position};
    }
  }
  for (int32_t s = 0; s < plan.num_seqs(); ++s) {
    const PlannedSequence& planned = plan.sequences[static_cast<size_t>(s)];
    if (planned.logit_row < 0 && planned.num_prompt_rows == 0) continue;
    const size_t i = static_cast<size_t>(s);
    const int32_t kv_len = plan.kv_lens[i];
    const int32_t first = kv_len - (plan.q_offsets[i + 1] - plan.q_offsets[i]);
    uint64_t hash = TokenHash::kStart;
    for (int32_t p = 0; p < kv_len; ++p) {
      const Slot& slot = At(plan, s, p);
      // A position out of place can only make the hash wrong.
      hash = TokenHash::Next(hash, slot.position == p ? slot.token_id : -1 - slot.token_id);
      int32_t row = -1;
      if (p >= first && p - first < planned.num_prompt_rows) {
        row = planned.first_prompt_row + p - first;
      } else if (p + 1 == kv_len) {
        row = planned.logit_row;
      }
      if (row < 0) continue;
      HashLogits(hash, {output.logits.Row<float>(row), static_cast<size_t>(info_.vocab_size)});
    }
  }
  if (after_run) after_run(plan, output.logits);
  TellBest(plan, output);
  return OkStatus();
}

// Of every other row that need not be written: the largest logit, and nothing to be read in the
// row itself.
void HashRunner::TellBest(const StepPlan& plan, const StepOutput& output) const {
  for (size_t row = 0; row < output.best.size(); ++row) {
    if (plan.wanted[row] != 0 || (static_cast<size_t>(plan.step) + row) % 2 != 0) continue;
    const std::span<float> logits(output.logits.Row<float>(static_cast<int64_t>(row)),
                                  static_cast<size_t>(info_.vocab_size));
    const int64_t bad = sampling::FirstNonFinite(logits);
    const int64_t id = bad >= 0 ? bad : sampling::ArgMax(logits);
    output.best[row] = {static_cast<int32_t>(id), logits[static_cast<size_t>(id)]};
    std::fill(logits.begin(), logits.end(), std::numeric_limits<float>::quiet_NaN());
  }
}

void HashRunner::Scrub(std::span<const int32_t> pages) {
  for (int32_t page : pages) {
    std::fill_n(memory_.begin() + int64_t{page} * info_.page_size, info_.page_size, Slot{});
  }
}

bool HashRunner::PageIsBlank(int32_t page) const {
  const auto begin = memory_.begin() + int64_t{page} * info_.page_size;
  return std::all_of(begin, begin + info_.page_size,
                     [](const Slot& slot) { return slot == Slot{}; });
}

bool HashRunner::PageHolds(int32_t page, std::span<const int32_t> token_ids) const {
  const Slot* slots = &memory_[static_cast<size_t>(page) * static_cast<size_t>(info_.page_size)];
  for (size_t i = 0; i < token_ids.size(); ++i) {
    // Which page of its text it is follows from the first slot.
    if (slots[i].token_id != token_ids[i] ||
        slots[i].position != slots[0].position + static_cast<int32_t>(i)) {
      return false;
    }
  }
  return slots[0].position % info_.page_size == 0;
}

}  // namespace rill::engine
