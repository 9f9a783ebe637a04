#include "progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "command.h"

namespace rill::app {
namespace {

std::string Amount(int64_t value, ProgressBar::Unit unit) {
  if (unit == ProgressBar::Unit::kCount) return fmt::format("{}", value);
  if (value >= 1'000'000'000) return fmt::format("{:.2f} GB", static_cast<double>(value) / 1e9);
  return fmt::format("{:.1f} MB", static_cast<double>(value) / 1e6);
}

double Seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

ProgressBar::ProgressBar(std::string label, Unit unit)
    : label_(std::move(label)),
      unit_(unit),
      enabled_(StderrIsTerminal()),
      start_(std::chrono::steady_clock::now()),
      last_draw_(start_) {}

ProgressBar::~ProgressBar() {
  Clear();
}

void ProgressBar::Clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

void ProgressBar::Update(int64_t done, int64_t total) {
  if (!enabled_) return;
  const auto now = std::chrono::steady_clock::now();
  const double elapsed_s = Seconds(now - start_);
  if (elapsed_s < 0.5 || Seconds(now - last_draw_) < 0.1) return;
  last_draw_ = now;
  drawn_ = true;
  const double rate = static_cast<double>(done) / elapsed_s;
  std::string line;
  if (total > 0) {
    constexpr int kWidth = 30;
    const double share =
        std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    const int filled = static_cast<int>(share * kWidth);
    const std::string left =
        rate > 0 ? fmt::format("  {:.0f} s left", static_cast<double>(total - done) / rate) : "";
    line = fmt::format("{} [{}{}] {:3.0f} %  {} of {}{}", label_,
                       std::string(static_cast<size_t>(filled), '#'),
                       std::string(static_cast<size_t>(kWidth - filled), '.'), share * 100,
                       Amount(done, unit_), Amount(total, unit_), left);
  } else {
    line = fmt::format("{} {}", label_, Amount(done, unit_));
  }
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
}

BusyNote::BusyNote(std::string label) : label_(std::move(label)) {
  if (!StderrIsTerminal()) return;
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, std::chrono::milliseconds(500), [this] { return done_; })) return;
    std::fprintf(stderr, "\r%s…\x1b[K", label_.c_str());
    std::fflush(stderr);
    wake_.wait(lock, [this] { return done_; });
    std::fputs("\r\x1b[K", stderr);
  });
}

BusyNote::~BusyNote() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

}  // namespace rill::app
