#include "backends/cpu/kernels.h"

#include <cstdlib>

#include "base/cpu_features.h"
#include "rill/cpu_isas.h"

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

namespace {

std::vector<std::string> NamesOf(const std::vector<const Kernels*>& tables) {
  std::vector<std::string> names;
  for (const Kernels* kernels : tables) {
    // Tables of one name (scalar, with and without fma) follow each other.
    if (names.empty() || names.back() != kernels->isa) names.emplace_back(kernels->isa);
  }
  return names;
}

struct Alias {
  std::string_view space, name, meaning;
};
constexpr Alias kAliases[] = {
#define ISA(space, user_name, present)
#define ISA_ALIAS(space, alias, meaning) {#space, alias, meaning},
#include "backends/cpu/isa_list.def"
#undef ISA
    {},  // no array is empty
};
std::vector<std::pair<std::string, std::string>> AliasesOf(
    const std::vector<const Kernels*>& tables) {
  std::vector<std::pair<std::string, std::string>> aliases;
  for (const Kernels* kernels : tables) {
    for (const Alias& alias : kAliases) {
      if (alias.space == kernels->name) aliases.emplace_back(alias.name, alias.meaning);
    }
  }
  return aliases;
}

}  // namespace

std::string_view ChosenIsa(std::string_view isa) {
  if (!isa.empty()) return isa;
  const char* env = std::getenv("RILL_CPU_ISA");
  return env == nullptr ? std::string_view() : env;
}

Result<const Kernels*> SelectKernels(std::string_view isa) {
  const char* source = isa.empty() ? "RILL_CPU_ISA" : "cpu_isa";
  isa = ChosenIsa(isa);
  const std::vector<const Kernels*> present = AvailableKernels();
  if (isa.empty()) return present.front();
  std::string_view space_name;  // of an alias
  for (const Alias& alias : kAliases) {
    if (isa == alias.name) space_name = alias.space;
  }
  for (const Kernels* kernels : present) {
    if (!space_name.empty() ? space_name == kernels->name
                            : isa == kernels->isa || isa == kernels->name) {
      return kernels;
    }
  }
  std::string names;
  for (const std::string& name : NamesOf(present)) names += (names.empty() ? "" : ", ") + name;
  for (const auto& [name, meaning] : AliasesOf(present)) names += ", " + name;
#define ISA(space, user_name, condition)                                               \
  if (isa == user_name || isa == #space || space_name == #space) {                     \
    return Unsupported(std::string(source) + ": this CPU has no " + std::string(isa) + \
                       " (it has: " + names + ")");                                    \
  }
#include "backends/cpu/isa_list.def"
#undef ISA
  return InvalidArgument(std::string(source) + ": unknown instruction set '" + std::string(isa) +
                         "', expected one of: " + names);
}

}  // namespace rill::cpu

namespace rill {

Result<CpuIsas> FindCpuIsas(std::string_view cpu_isa) {
  RILL_ASSIGN_OR_RETURN(const cpu::Kernels* kernels, cpu::SelectKernels(cpu_isa));
  const std::vector<const cpu::Kernels*> present = cpu::AvailableKernels();
  return CpuIsas{cpu::NamesOf(present), std::string(kernels->isa), cpu::AliasesOf(present)};
}

}  // namespace rill
