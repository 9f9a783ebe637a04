// "512 bytes", "1.05 MB", "3.20 GB": a budget that was meant to be larger shows as what it is.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace rill {

inline std::string SizeText(int64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  return bytes < 100'000'000 ? fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6)
                             : fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

}  // namespace rill
