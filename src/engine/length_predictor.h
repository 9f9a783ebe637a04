// LengthPredictor: how many tokens will an answer have? An opinion, used to decide how many
// requests to run at once; never a limit, and never part of a result.
//
// SurvivalPredictor learns online: for each (tenant, length class), for each length class and for
// all, a survival curve of lengths in log-spaced buckets (Kaplan and Meier 1958: answers cut off by
// max_tokens count as "longer than this"). Asked about an answer that already has g tokens, it
// answers from the curve beyond g. A curve is used once it has seen kMinSamples ends; before that
// the next wider one; with none, the worst case (max_tokens) is reserved, and what is expected is a
// guess (kGuessTokens) that gives way to the first ends.
//
// A trained model is another subclass: LengthQuery has the prompt's ids.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace rill::engine {

struct LengthQuery {
  std::string_view tenant, length_class;
  std::span<const int32_t> prompt_ids;
  int32_t max_tokens = 0;
  int32_t generated = 0;  // tokens it already has
};

// Totals, with the tokens already there; in [generated, max_tokens].
struct LengthForecast {
  int32_t reserve_tokens = 0;  // not exceeded in a share `quantile` of the cases
  double expected_tokens = 0;  // mean
  // What admission will reserve on average, with which waits are reckoned; negative: as many as
  // expected.
  double held_tokens = -1;
};

// Thread-safe: requests that no step has seen yet are asked for where they arrive.
class LengthPredictor {
 public:
  virtual ~LengthPredictor() = default;
  virtual LengthForecast Predict(const LengthQuery& query) const = 0;
  // An answer ended after query.generated tokens: by itself, or because it was cut off.
  virtual void Observe(const LengthQuery& query, bool cut_off) = 0;
};

class SurvivalPredictor : public LengthPredictor {
 public:
  static constexpr int kMinSamples = 16;
  static constexpr size_t kMaxCurves = 1024;  // the least recently fed one makes room
  // Mean length of answers of which nothing is known, as if kGuessWeight ends had shown it: that of
  // chats (Azure's public traces of 2023: 211; ShareGPT: 200 to 300), each token as likely the
  // last.
  static constexpr double kGuessTokens = 256, kGuessWeight = 4;
  explicit SurvivalPredictor(double quantile) : quantile_(quantile) {}

  LengthForecast Predict(const LengthQuery& query) const override;
  void Observe(const LengthQuery& query, bool cut_off) override;
  size_t num_curves() const;

 private:
  static constexpr int kNumBuckets = 152;  // 1 to 16 one by one, then 8 an octave, to 2^21
  struct Curve {
    std::array<float, kNumBuckets> ended = {}, cut_off = {};
    float total = 0;
    int64_t last_fed = 0;
  };
  static int BucketOf(int32_t length);
  static int32_t UpperBound(int bucket);
  const Curve* FindCurve(const LengthQuery& query) const;
  // guess_weight: ends of the guess beside those of the curve.
  LengthForecast FromCurve(const Curve& curve, const LengthQuery& query,
                           double guess_weight = 0) const;
  LengthForecast Guess(const LengthQuery& query) const;
  void Feed(const std::string& key, int32_t length, bool cut_off);

  const double quantile_;
  mutable std::mutex mutex_;  // guards what follows; FindCurve and Feed are called with it
  int64_t num_fed_ = 0;
  std::map<std::string, Curve> curves_;
};

}  // namespace rill::engine
