// Benchmark (rill/bench.h): steps of chosen shapes, straight on the model.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include "base/aligned_vector.h"
#include "llm/llm_impl.h"
#include "llm/measured_ceilings.h"
#include "llm/memory_error.h"
#include "model/program.h"
#include "model/step_cost.h"
#include "ops/op_cost.h"
#include "rill/bench.h"
#include "sampling/row_passes.h"

namespace rill {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// "layers.12.attn.qkv" -> "layers.*.attn.qkv"
std::string WithoutIndex(std::string_view place) {
  std::string out;
  for (size_t i = 0; i < place.size(); ++i) {
    const bool begins = i == 0 || place[i - 1] == '.';
    size_t end = i;
    while (end < place.size() && place[end] >= '0' && place[end] <= '9') ++end;
    if (begins && end > i && (end == place.size() || place[end] == '.')) {
      out += '*';
      i = end - 1;
    } else {
      out += place[i];
    }
  }
  return out;
}

bool HasTag(const ops::OpSchema& schema, std::string_view tag) {
  return std::find(schema.tags.begin(), schema.tags.end(), tag) != schema.tags.end();
}

}  // namespace

struct Benchmark::Impl {
  Llm::Impl* llm = nullptr;
  BenchmarkOptions options;
  Ceilings ceilings;
  KvLayout layout;
  model::StepCostModel cost_model;
  std::unique_ptr<ops::Buffer> kv;
  int32_t num_pages = 0;
  AlignedVector<float> logits;
  std::vector<int32_t> wanted;  // of a step's rows: none
  std::vector<ops::BestLogit> best;

  // One forward, ready to run.
  struct Step {
    std::vector<int32_t> token_ids, positions, q_offsets, kv_lens, page_table, logit_rows;
    int32_t max_pages = 0;
    StepCost cost;
  };

  int64_t PagesOf(int64_t positions) const {
    return (positions + layout.page_size - 1) / layout.page_size;
  }

  // Sequences (q_len, kv_len after the step); those that want logits first decide by flag.
  struct Sequence {
    int32_t q_len = 1, kv_len = 1;
    bool logits = true;
  };
  Step MakeStep(const std::vector<Sequence>& sequences, int64_t pages_each) const {
    Step step;
    step.max_pages = static_cast<int32_t>(pages_each);
    step.q_offsets.push_back(0);
    uint64_t state = 12345;
    int32_t page = 0;
    for (const Sequence& s : sequences) {
      for (int32_t i = 0; i < s.q_len; ++i) {
        // Ids all over the vocabulary, without a pattern that a cache could like.
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        step.token_ids.push_back(static_cast<int32_t>(
            (state >> 33) % static_cast<uint64_t>(llm->model->config().vocab_size)));
        step.positions.push_back(s.kv_len - s.q_len + i);
      }
      step.q_offsets.push_back(static_cast<int32_t>(step.token_ids.size()));
      step.kv_lens.push_back(s.kv_len);
      if (s.logits) step.logit_rows.push_back(step.q_offsets.back() - 1);
      for (int64_t p = 0; p < pages_each; ++p) step.page_table.push_back(page++);
    }
    step.cost = cost_model.Of(
        static_cast<int64_t>(step.token_ids.size()), static_cast<int64_t>(step.logit_rows.size()),
        static_cast<int32_t>(sequences.size()), step.q_offsets.data(), step.kv_lens.data());
    return step;
  }

  int64_t Positions(const BenchCase& c) const {
    if (c.phase == "prefill") return c.num_tokens / c.num_seqs;
    if (c.phase == "decode") return int64_t{c.context} + 1;
    return std::max<int64_t>(int64_t{c.context} + 1, c.num_tokens - (c.num_seqs - 1));
  }
  int64_t KvBytes(const BenchCase& c) const {
    return c.num_seqs * PagesOf(Positions(c)) * layout.page_bytes();
  }

  std::string WhyNot(const BenchCase& c) const {
    const int64_t max_tokens = llm->model->program().max_tokens();
    const int64_t max_rows = llm->model->program().max_rows();
    if (c.phase != "prefill" && c.phase != "decode" && c.phase != "mixed") {
      return "phase: expected prefill, decode or mixed, got '" + c.phase + "'";
    }
    if (c.num_seqs < 1 || c.num_tokens < c.num_seqs || c.context < 0) {
      return fmt::format("expected num_tokens >= num_seqs >= 1 and context >= 0, got {}, {}, {}",
                         c.num_tokens, c.num_seqs, c.context);
    }
    if (c.phase == "prefill" && c.num_tokens % c.num_seqs != 0) {
      return fmt::format("{} tokens are no {} equal prompts", c.num_tokens, c.num_seqs);
    }
    if (c.phase != "prefill" && c.num_tokens > max_tokens) {
      return fmt::format("{} tokens in a step, which holds {} (--chunk)", c.num_tokens, max_tokens);
    }
    if (c.num_seqs > max_rows) {
      return fmt::format("{} sequences, a step has {} rows of logits", c.num_seqs, max_rows);
    }
    if (Positions(c) > llm->model->config().max_context) {
      return fmt::format("{} positions, the model has {} (--context)", Positions(c),
                         llm->model->config().max_context);
    }
    if (KvBytes(c) > options.kv_bytes) {
      return fmt::format("{} MB of keys and values, allowed are {} (--kv-memory)",
                         KvBytes(c) / 1'000'000, options.kv_bytes / 1'000'000);
    }
    return {};
  }

  // The steps of one repetition.
  std::vector<Step> StepsOf(const BenchCase& c) const {
    std::vector<Step> steps;
    const int64_t pages = PagesOf(Positions(c));
    if (c.phase == "decode") {
      steps.push_back(MakeStep(
          std::vector<Sequence>(static_cast<size_t>(c.num_seqs), {1, c.context + 1, true}), pages));
    } else if (c.phase == "mixed") {
      std::vector<Sequence> sequences(static_cast<size_t>(c.num_seqs - 1),
                                      {1, c.context + 1, true});
      const int32_t chunk = c.num_tokens - (c.num_seqs - 1);
      sequences.push_back({chunk, chunk, true});
      steps.push_back(MakeStep(sequences, pages));
    } else {
      const int32_t length = c.num_tokens / c.num_seqs;
      const int32_t most =
          std::max(1, llm->model->program().max_tokens() / c.num_seqs);  // of each prompt
      for (int32_t begin = 0; begin < length; begin += most) {
        const int32_t end = std::min(length, begin + most);
        steps.push_back(MakeStep(std::vector<Sequence>(static_cast<size_t>(c.num_seqs),
                                                       {end - begin, end, end == length}),
                                 pages));
      }
    }
    return steps;
  }

  Status RunStep(const Step& step) {
    model::StepInput input;
    input.token_ids = step.token_ids;
    input.positions = step.positions;
    input.logit_rows = step.logit_rows;
    input.kv.layout = layout;
    input.kv.base = kv->data();
    input.kv.num_pages = num_pages;
    input.kv.num_seqs = static_cast<int32_t>(step.kv_lens.size());
    input.kv.max_pages = step.max_pages;
    input.kv.page_table = step.page_table.data();
    input.kv.q_offsets = step.q_offsets.data();
    input.kv.kv_lens = step.kv_lens.data();
    const auto rows = static_cast<int64_t>(step.logit_rows.size());
    const int64_t vocab = llm->model->config().vocab_size;
    logits.resize(std::max(logits.size(), static_cast<size_t>(rows * vocab)));
    // As the engine does for greedy requests.
    wanted.assign(static_cast<size_t>(rows), 0);
    best.assign(static_cast<size_t>(rows), {});
    input.wanted = wanted;
    input.best = best;
    RILL_RETURN_IF_ERROR(llm::MemoryError(llm->model->Forward(
        input, MutableTensorView(logits.data(), DType::kF32, Shape{rows, vocab}))));
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t id = best[static_cast<size_t>(r)].token_id;
      chosen +=
          id >= 0 ? id : sampling::ArgMax({logits.data() + r * vocab, static_cast<size_t>(vocab)});
    }
    return OkStatus();
  }
  int64_t chosen = 0;

  template <typename Once, typename Kept>
  Status Repeat(int32_t most, const Once& repeat, const Kept& keep);
  Result<Profile> ProfileOnce(const BenchCase& shape, const std::vector<Step>& steps);

  Status Cancel() const {
    if (options.cancel && options.cancel->load(std::memory_order_relaxed)) {
      return Cancelled("interrupted");
    }
    return OkStatus();
  }
};

Benchmark::Benchmark() : impl_(std::make_unique<Impl>()) {}
Benchmark::~Benchmark() = default;
const Ceilings& Benchmark::ceilings() const {
  return impl_->ceilings;
}
std::string Benchmark::WhyNot(const BenchCase& shape) const {
  return impl_->WhyNot(shape);
}

Result<std::unique_ptr<Benchmark>> Benchmark::Create(Llm& llm, const std::vector<BenchCase>& cases,
                                                     const BenchmarkOptions& options) {
  Llm::Impl& l = *llm.impl_;
  if (!l.model) return FailedPrecondition(l.info.path + ": opened without its weights");
  if (l.info.is_encoder) {
    return Unsupported(l.info.path + ": family " + l.info.family +
                       " is an encoder, it neither prefills nor decodes");
  }
  std::unique_ptr<Benchmark> out(new Benchmark());
  Impl& impl = *out->impl_;
  impl.llm = &l;
  impl.options = options;
  impl.layout = l.model->MakeKvLayout(l.kv_dtype, l.options.page_size);
  impl.cost_model = model::StepCostModel(l.model->program(), impl.layout);

  CeilingOptions ceiling_options;
  const double weights = impl.cost_model.weight_bytes();
  ceiling_options.working_sets = {weights * 1.05, weights * 2, weights * 4};
  RILL_ASSIGN_OR_RETURN(impl.ceilings, llm::MeasuredCeilings(*l.backend, ceiling_options));

  int64_t pages = 1;
  for (const BenchCase& c : cases) {
    if (impl.WhyNot(c).empty()) {
      pages = std::max(pages, c.num_seqs * impl.PagesOf(impl.Positions(c)));
    }
  }
  impl.num_pages = static_cast<int32_t>(pages);
  RILL_ASSIGN_OR_RETURN(impl.kv, l.backend->Allocate(pages * impl.layout.page_bytes()));
  // Written, because untouched memory is one page of zeros that never leaves the cache; with bytes
  // that are small numbers in every KV format.
  uint64_t state = 1;
  std::byte* data = impl.kv->data();
  for (int64_t i = 0; i + 8 <= impl.kv->size_bytes(); i += 8) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const uint64_t word = (state & 0x0F0F0F0F0F0F0F0Full) | 0x2020202020202020ull;
    std::memcpy(data + i, &word, 8);
  }
  return out;
}

// Calls `repeat`, which gives the seconds of one repetition, as often as the options say: once to
// warm up, then `min_repetitions` and `min_seconds`, at most `most` of them. `keep` is called after
// each that counts.
template <typename Once, typename Kept>
Status Benchmark::Impl::Repeat(int32_t most, const Once& repeat, const Kept& keep) {
  double total = 0;
  int32_t count = 0;
  for (bool warm = false;
       !warm || count < options.min_repetitions || (total < options.min_seconds && count < most);) {
    RILL_RETURN_IF_ERROR(Cancel());
    RILL_ASSIGN_OR_RETURN(const double took, repeat());
    const bool is_only = !warm && took > options.long_seconds;
    if (warm || is_only) {
      keep(took);
      total += took;
      ++count;
    }
    if (is_only) break;
    warm = true;
  }
  return OkStatus();
}

Result<BenchRun> Benchmark::Run(const BenchCase& shape) {
  Impl& impl = *impl_;
  if (const std::string reason = impl.WhyNot(shape); !reason.empty()) {
    return InvalidArgument(reason);
  }
  const std::vector<Impl::Step> steps = impl.StepsOf(shape);
  BenchRun run;
  run.shape = shape;
  for (const Impl::Step& step : steps) run.cost += step.cost;
  std::vector<double> times;
  RILL_RETURN_IF_ERROR(impl.Repeat(
      std::numeric_limits<int32_t>::max(),
      [&]() -> Result<double> {
        const auto start = Clock::now();
        for (const Impl::Step& step : steps) RILL_RETURN_IF_ERROR(impl.RunStep(step));
        return SecondsSince(start);
      },
      [&](double took) { times.push_back(took); }));
  run.repetitions = static_cast<int32_t>(times.size());
  run.min_seconds = *std::min_element(times.begin(), times.end());
  run.max_seconds = *std::max_element(times.begin(), times.end());
  run.seconds = Median(std::move(times));
  run.tokens_per_s = shape.num_tokens / run.seconds;
  // Steps follow one another: the sum of their limits.
  double at_limit = 0;
  std::map<std::string_view, double> by_limit;
  for (const Impl::Step& step : steps) {
    const HardwareLimit limit = LimitOf(step.cost, impl.ceilings);
    at_limit += limit.seconds;
    by_limit[limit.name] += limit.seconds;
  }
  run.limit = std::max_element(by_limit.begin(), by_limit.end(), [](const auto& a, const auto& b) {
                return a.second < b.second;
              })->first;
  run.pct_of_limit = 100 * at_limit / run.seconds;
  return run;
}

Result<Profile> Benchmark::Impl::ProfileOnce(const BenchCase& shape,
                                             const std::vector<Step>& steps) {
  Profile profile;
  profile.shape = shape;
  std::map<std::string, ProfileRow> by_op, by_place;
  std::map<const ProfileRow*, std::map<std::string_view, double>> limits;  // seconds at each
  Clock::time_point start;
  model::ProgramHook hook;
  hook.before = [&](const model::ProgramNode&) { start = Clock::now(); };
  hook.after = [&](const model::ProgramNode& node) {
    const double took = SecondsSince(start);
    const ops::OpSchema& schema = node.schema();
    const StepCost cost = ops::CostOf(schema, node.args.get());
    const auto add = [&](ProfileRow& row) {
      row.op = std::string(schema.name);
      ++row.calls;
      row.seconds += took;
      row.cost += cost;
      const HardwareLimit limit = LimitOf(cost, ceilings);
      row.pct_of_limit += limit.seconds;  // a sum of seconds until the end
      auto& by_limit = limits[&row];
      by_limit[limit.name] += limit.seconds;
      if (limit.seconds > 0 && (row.limit.empty() || by_limit[limit.name] >= by_limit[row.limit])) {
        row.limit = std::string(limit.name);
      }
    };
    add(by_op[std::string(schema.name)]);
    add(by_place[WithoutIndex(node.place)]);
    profile.seconds += took;
    if (HasTag(schema, "matmul")) profile.matmul_share += took;
    if (HasTag(schema, "attention")) profile.attention_share += took;
  };
  llm->model->mutable_program().SetHook(hook);
  Status status;
  for (const Step& step : steps) {
    status = RunStep(step);
    if (!status.ok()) break;
  }
  llm->model->mutable_program().SetHook({});
  if (!status.ok()) return status;
  profile.matmul_share /= profile.seconds;
  profile.attention_share /= profile.seconds;
  const auto finish = [&](std::map<std::string, ProfileRow>& rows) {
    std::vector<ProfileRow> out;
    for (auto& [name, row] : rows) {
      row.name = name;
      row.share = row.seconds / profile.seconds;
      row.pct_of_limit *= 100 / row.seconds;
      out.push_back(std::move(row));
    }
    std::stable_sort(out.begin(), out.end(), [](const ProfileRow& a, const ProfileRow& b) {
      return a.seconds > b.seconds;
    });
    return out;
  };
  profile.by_op = finish(by_op);
  profile.by_place = finish(by_place);
  return profile;
}

Result<Profile> Benchmark::ProfileOps(const BenchCase& shape) {
  Impl& impl = *impl_;
  if (const std::string reason = impl.WhyNot(shape); !reason.empty()) {
    return InvalidArgument(reason);
  }
  const std::vector<Impl::Step> steps = impl.StepsOf(shape);
  constexpr int32_t kMost = 1000;  // each is kept until the median is known
  std::vector<Profile> profiles;
  Profile last;
  RILL_RETURN_IF_ERROR(impl.Repeat(
      kMost,
      [&]() -> Result<double> {
        RILL_ASSIGN_OR_RETURN(last, impl.ProfileOnce(shape, steps));
        return last.seconds;
      },
      [&](double) { profiles.push_back(std::move(last)); }));
  std::sort(profiles.begin(), profiles.end(),
            [](const Profile& a, const Profile& b) { return a.seconds < b.seconds; });
  const auto span_of = [&](double Profile::* value) {
    const auto [min, max] = std::minmax_element(
        profiles.begin(), profiles.end(),
        [&](const Profile& a, const Profile& b) { return a.*value < b.*value; });
    return Profile::Span{(*min).*value, (*max).*value};
  };
  // One that was measured, not a mean of two: its rows add up.
  Profile median = profiles[(profiles.size() - 1) / 2];
  median.repetitions = static_cast<int32_t>(profiles.size());
  median.seconds_span = span_of(&Profile::seconds);
  median.matmul_share_span = span_of(&Profile::matmul_share);
  median.attention_share_span = span_of(&Profile::attention_share);
  return median;
}

}  // namespace rill
