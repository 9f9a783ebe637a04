// Typed, bounded reads of config.json and GGUF metadata for arch/<family>.cc.
//
// Errors are sticky: the first wrong value is kept with its culprit, later reads give fallbacks,
// and the caller looks at status() once at the end. So a family reads like a list of facts.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "io/model_source.h"
#include "model/decoder_spec.h"
#include "model/quant_config.h"
#include "model/rope.h"
#include "model/weight_names.h"
#include "rill/status.h"

namespace rill::model {

// Everything a family says about a network. `ropes` become spec.ropes once the context is known.
struct Description {
  DecoderSpec spec;
  WeightNames names;
  QuantConfig quant;
  std::vector<RopeConfig> ropes;
};

class StickyError {
 public:
  const Status& status() const { return status_; }
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  bool ok() const { return status_.ok(); }

 private:
  Status status_;
};

// A size, count or length: whatever is larger is a lie or a mistake.
inline constexpr int64_t kMaxSize = int64_t{1} << 28;

// config.json. A key may be given with its other spellings: {"hidden_size", "n_embd"}.
class HfConfig : public StickyError {
 public:
  using Keys = std::initializer_list<std::string_view>;
  HfConfig(const Json& json, std::string culprit) : json_(json), culprit_(std::move(culprit)) {}

  const Json& json() const { return json_; }
  const std::string& culprit() const { return culprit_; }  // begins every message
  const Json* Find(Keys keys) const;                       // null values count as absent
  bool Has(Keys keys) const { return Find(keys) != nullptr; }

  int32_t Size(Keys keys);                    // required, in [1, kMaxSize]
  int32_t Size(Keys keys, int32_t fallback);  // the same when present
  int32_t Int(Keys keys, int32_t fallback);   // in [0, kMaxSize]
  double Number(Keys keys, double fallback);  // finite
  double Number(Keys keys);                   // required, finite
  // What can be switched off: 0 when a key says null.
  int32_t OptionalInt(Keys keys, int32_t absent);
  double OptionalNumber(Keys keys, double absent);
  bool Bool(Keys keys, bool fallback);  // null is false, as in Python
  std::string Text(Keys keys, std::string_view fallback);
  std::vector<double> Numbers(Keys keys);
  ops::ActivationKind Activation(Keys keys, std::string_view fallback);

  void FailKey(std::string_view key, std::string_view expected, const Json* got);

 private:
  bool IsNull(Keys keys) const;  // the first key that is there

  const Json& json_;
  std::string culprit_;
};

// GGUF metadata under "<architecture>.".
class GgufConfig : public StickyError {
 public:
  GgufConfig(const io::ModelSource& source, std::string architecture)
      : source_(source), prefix_(std::move(architecture) + ".") {}

  const io::ModelSource& source() const { return source_; }
  bool HasTensor(std::string_view name) const { return source_.tensors.Find(name) != nullptr; }
  bool Has(std::string_view key) const;
  int32_t Size(std::string_view key);
  int32_t Size(std::string_view key, int32_t fallback);
  int32_t Int(std::string_view key, int32_t fallback);
  double Number(std::string_view key, double fallback);
  double Number(std::string_view key);
  bool Bool(std::string_view key, bool fallback);
  std::string Text(std::string_view key, std::string_view fallback);
  // A scalar, or an array with one number for each layer.
  std::vector<int64_t> PerLayer(std::string_view key, int32_t num_layers, int64_t fallback);

 private:
  std::string Full(std::string_view key) const { return prefix_ + std::string(key); }
  template <typename T>
  std::optional<T> Take(Result<std::optional<T>> result);
  int32_t Bounded(std::string_view key, std::optional<int64_t> value, int64_t low,
                  int32_t fallback);

  const io::ModelSource& source_;
  std::string prefix_;
};

// "gelu_new" -> kGeluTanh, …; kUnsupported lists the known ones.
Result<ops::ActivationKind> ParseActivation(std::string_view name);

}  // namespace rill::model
