// The instruction sets that the CPU backend can use here.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rill/status.h"

namespace rill {

struct CpuIsas {
  std::vector<std::string> available;  // names that $RILL_CPU_ISA takes on this CPU, best first
  std::string in_use;                  // one of these
  // Other names that it takes, and what they stand for: {"avx512bw", "avx512"}.
  std::vector<std::pair<std::string, std::string>> aliases;
};

// Those of this CPU, and the one that runs when `cpu_isa` is asked for ("": $RILL_CPU_ISA, or the
// best). Errors: kInvalidArgument for an unknown name, kUnsupported for one that this CPU lacks;
// both list the names there are.
Result<CpuIsas> FindCpuIsas(std::string_view cpu_isa = "");

}  // namespace rill
