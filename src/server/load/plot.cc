// LoadReport::ToSvg: four small plots, drawn without a library.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "rill/load_test.h"

namespace rill {

namespace {

constexpr double kWidth = 420, kHeight = 240;
constexpr double kLeft = 56, kRight = 12, kTop = 28, kBottom = 36;

struct Point {
  double x, y;
};

std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

// 1, 2 or 5 times a power of ten, so that about four steps cover `range`.
double TickStep(double range) {
  const double raw = std::max(range, 1e-12) / 4;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

// One plot with its upper left corner at (x0, y0).
std::string Plot(double x0, double y0, const std::string& title, const std::string& x_label,
                 const std::vector<Point>& points, double x_max, double y_max) {
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  x_max = x_max > 0 ? x_max : 1;
  y_max = y_max > 0 ? y_max : 1;
  auto px = [&](double x) { return x0 + kLeft + std::clamp(x / x_max, 0.0, 1.0) * width; };
  auto py = [&](double y) { return y0 + kTop + (1 - std::clamp(y / y_max, 0.0, 1.0)) * height; };
  std::string out = fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" font-weight=\"bold\">{}</text>\n"
      "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n",
      x0 + kLeft, y0 + 16, Escape(title), x0 + kLeft + width / 2, y0 + kHeight - 4,
      Escape(x_label));
  const double x_step = TickStep(x_max), y_step = TickStep(y_max);
  for (double x = 0; x <= x_max * 1.0001; x += x_step) {
    out += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4:g}</text>\n",
        px(x), py(0), py(y_max), py(0) + 14, x);
  }
  for (double y = 0; y <= y_max * 1.0001; y += y_step) {
    out += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{1:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:g}</text>\n",
        px(0), py(y), px(x_max), px(0) - 4, py(y) + 4, y);
  }
  if (points.empty()) return out;
  out += "<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\" points=\"";
  for (const Point& point : points) out += fmt::format("{:.1f},{:.1f} ", px(point.x), py(point.y));
  out += "\"/>\n";
  return out;
}

// The share of samples that are at most x, thinned to a few hundred points. The axis ends at the
// 99.5th percentile, so that one outlier does not squeeze the rest.
std::string Distribution(double x0, double y0, const std::string& title,
                         std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  std::vector<Point> points;
  double x_max = 0;
  if (!seconds.empty()) {
    x_max = 1e3 * seconds[std::min(seconds.size() - 1, seconds.size() * 995 / 1000)];
    points.push_back({1e3 * seconds.front(), 0});
    const size_t step = std::max<size_t>(1, seconds.size() / 400);
    for (size_t i = 0; i < seconds.size(); i += step) {
      points.push_back({1e3 * seconds[i],
                        100.0 * static_cast<double>(i + 1) / static_cast<double>(seconds.size())});
    }
    points.push_back({1e3 * seconds.back(), 100});
  }
  return Plot(x0, y0, title, "ms", points, x_max, 100);
}

}  // namespace

std::string LoadReport::ToSvg(const std::string& title) const {
  std::vector<double> ttft, itl, e2e, events;
  double begin = 0;
  if (!samples.empty()) {
    begin = samples.front().arrival_s;
    for (const LoadSample& sample : samples) begin = std::min(begin, sample.arrival_s);
  }
  for (const LoadSample& sample : samples) {
    if (!sample.error.empty()) continue;
    e2e.push_back(sample.end_s - sample.arrival_s);
    for (size_t i = 0; i < sample.events_s.size(); ++i) {
      events.push_back(sample.events_s[i] - begin);
      if (i == 0) {
        ttft.push_back(sample.events_s[i] - sample.arrival_s);
      } else {
        itl.push_back(sample.events_s[i] - sample.events_s[i - 1]);
      }
    }
  }
  constexpr size_t kBins = 60;
  std::vector<Point> rate;
  double rate_max = 0;
  if (duration_s > 0) {
    std::vector<double> bins(kBins, 0);
    for (double at : events) {
      const double place = at / duration_s * static_cast<double>(kBins);
      bins[std::min(kBins - 1, static_cast<size_t>(std::max(0.0, place)))] += 1;
    }
    for (size_t i = 0; i < kBins; ++i) {
      const double per_s = bins[i] * static_cast<double>(kBins) / duration_s;
      rate.push_back({(static_cast<double>(i) + 0.5) * duration_s / kBins, per_s});
      rate_max = std::max(rate_max, per_s);
    }
  }
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"11\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"12\" y=\"20\" font-size=\"14\">{2}</text>\n",
      2 * kWidth, 2 * kHeight + 32,
      Escape(fmt::format("{}: {} requests, {} failed, {:.2f} requests/s, {:.1f} tokens/s", title,
                         requests, failed, requests_per_s, output_tokens_per_s)));
  out += Plot(0, 32, "output tokens per second", "s", rate, duration_s, rate_max);
  out += Distribution(kWidth, 32, "% of first tokens within", std::move(ttft));
  out += Distribution(0, 32 + kHeight, "% of gaps between tokens within", std::move(itl));
  out += Distribution(kWidth, 32 + kHeight, "% of requests within", std::move(e2e));
  out += "</svg>\n";
  return out;
}

}  // namespace rill
