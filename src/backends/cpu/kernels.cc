#include "backends/cpu/kernels.h"

#include <cstdlib>

#include "base/cpu_features.h"

namespace rill::cpu {

#define ISA(space, user_name, present) \
  namespace space {                    \
  extern const Kernels kKernels;       \
  }
#include "backends/cpu/isa_list.def"
#undef ISA

std::vector<const Kernels*> AvailableKernels() {
  [[maybe_unused]] const CpuFeatures& f = GetCpuFeatures();
  std::vector<const Kernels*> found;
#define ISA(space, user_name, present) \
  if (present) found.push_back(&space::kKernels);
#include "backends/cpu/isa_list.def"
#undef ISA
  return found;
}

Result<const Kernels*> SelectKernels(std::string_view isa) {
  const char* source = "cpu_isa";
  if (isa.empty()) {
    if (const char* env = std::getenv("RILL_CPU_ISA")) {
      isa = env;
      source = "RILL_CPU_ISA";
    }
  }
  const std::vector<const Kernels*> present = AvailableKernels();
  if (isa.empty()) return present.front();
  std::string names;
  for (const Kernels* kernels : present) {
    if (isa == kernels->isa || isa == kernels->name) return kernels;
    if (names.find(kernels->isa) == std::string::npos) {
      names += (names.empty() ? "" : ", ") + std::string(kernels->isa);
    }
  }
#define ISA(space, user_name, condition)                                               \
  if (isa == user_name || isa == #space) {                                             \
    return Unsupported(std::string(source) + ": this CPU has no " + std::string(isa) + \
                       " (it has: " + names + ")");                                    \
  }
#include "backends/cpu/isa_list.def"
#undef ISA
  return InvalidArgument(std::string(source) + ": unknown instruction set '" + std::string(isa) +
                         "', expected one of: " + names);
}

}  // namespace rill::cpu
