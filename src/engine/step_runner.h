// StepRunner: what carries out a StepPlan. ModelRunner does it on a model; tests bring fakes.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "engine/step_plan.h"
#include "ops/logits.h"
#include "rill/hardware.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::engine {

// What the engine must know to plan for a runner.
struct RunnerInfo {
  int32_t vocab_size = 0;
  int32_t max_context = 0;      // positions of one sequence
  int32_t page_size = 0;        // positions of one page
  int32_t num_pages = 0;        // pages of the KV memory
  int32_t max_step_tokens = 0;  // rows of the largest step
  int32_t max_step_rows = 0;    // rows of logits of the largest step
  bool scrubs = false;          // StepRunner::Scrub() is to be called
};

// What a step leaves to the engine.
struct StepOutput {
  MutableTensorView logits;  // [num_rows, vocab_size] f32
  // [num_rows] as in ops/logits.h. A runner may write a row of which this would be enough, and
  // leaves its token_id at -1 then.
  std::span<ops::BestLogit> best;
};

// Owner thread: the engine's.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual const RunnerInfo& info() const = 0;
  // Copies pages, runs the forward, writes the logits that the plan wants. An error means that
  // what the step was to write is unknown: the engine ends its requests and names none of their
  // pages any more.
  virtual Status Run(const StepPlan& plan, const StepOutput& output) = 0;
  // Overwrites these pages: what they hold is nobody's any more. Called between steps, before what
  // is next written to them; a page may be there twice.
  virtual void Scrub(std::span<const int32_t>) {}
  // What the plan costs at least, for the "% of limit" that a server shows. Zeros: not known.
  virtual StepCost Cost(const StepPlan&) const { return {}; }
  // The runner's threads, for work between steps: task(item, thread) once for each item in
  // [0, count), in any order, at most num_threads() at the same time. `task` throws nothing.
  virtual int num_threads() const { return 1; }
  virtual void ForEach(int64_t count, FunctionRef<void(int64_t item, int thread)> task) {
    for (int64_t item = 0; item < count; ++item) task(item, 0);
  }
  // After a failed Run: may further steps be tried? An error means that the device is lost, and
  // the engine with it.
  virtual Status Recover() { return OkStatus(); }
};

}  // namespace rill::engine
