#include "engine/wait_forecast.h"

#include <gtest/gtest.h>

namespace rill::engine {
namespace {

// A step of 2 ms, and 0.1 more a prompt token, 0.5 a decode; four places.
WaitForecast Idle() {
  WaitForecast f;
  f.max_choices = 4;
  f.max_positions = 1e6;
  f.step_ms = 2;
  f.prompt_token_ms = 0.1;
  f.decode_ms = 0.5;
  return f;
}

ArrivalLoad Requests(int count, double prompt, double output, double held, int32_t n = 1) {
  ArrivalLoad load;
  for (int i = 0; i < count; ++i) load += ArrivalLoad::Of(n, prompt, output, held);
  return load;
}

TEST(WaitForecast, FreePlacesAreNotWaitedForButTheirPromptsAre) {
  EXPECT_EQ(Idle().WaitAfter({}), 0);
  // Three of 1,000 prompt tokens: the fourth place is free, and computed after them.
  EXPECT_NEAR(Idle().WaitAfter(Requests(3, 1000, 50, 50)), 300, 1e-9);
}

TEST(WaitForecast, TheOthersTakeTurns) {
  // 16 requests of 100 tokens and 4 places: 13 ends before one more, four at a time, each of 100
  // steps of 4 ms.
  EXPECT_NEAR(Idle().WaitAfter(Requests(16, 0, 100, 100)), 13.0 / 4 * 100 * 4, 1e-6);
  // Where some run and others wait, all of them do.
  WaitForecast busy = Idle();
  busy.wait_ms = 1000;
  busy.has_queue = true;
  busy.running_choices = 4;
  EXPECT_NEAR(busy.WaitAfter(Requests(16, 0, 100, 100)), 1000 + 16.0 / 4 * 100 * 4, 1e-6);
  EXPECT_EQ(busy.Idle().WaitAfter({}), 0);
}

TEST(WaitForecast, MemoryMayHaveRoomForFewer) {
  WaitForecast f = Idle();
  f.max_positions = 1000;
  // Two of 500 at once, however short they are expected to be: steps of 3 ms.
  EXPECT_NEAR(f.WaitAfter(Requests(8, 0, 100, 500)), 7.0 / 2 * 100 * 3, 1e-6);
}

TEST(WaitForecast, EveryChoiceReadsItsPrompt) {
  WaitForecast f = Idle();
  f.kv_read_ms = 0.001;
  // Two requests of 4 choices, 1,000 prompt tokens and 10 tokens each.
  const double prompts = 2 * (1000 * 0.1 + 1000.0 * 1000 / 2 * 0.001);
  const double outputs = 8 * 10 * (2.0 / 4 + 0.5 + 1005 * 0.001);
  EXPECT_NEAR(f.WaitAfter(Requests(2, 1000, 10, 10, 4)), prompts + 5.0 / 8 * outputs, 1e-6);
}

TEST(ArrivalLoad, WhatIsAddedAndTakenAwayLeavesNothing) {
  ArrivalLoad load = Requests(3, 17, 5, 9);
  load -= Requests(3, 17, 5, 9);
  EXPECT_EQ(load.choices, 0);
  EXPECT_EQ(Idle().WaitAfter(load), 0);
}

}  // namespace
}  // namespace rill::engine
