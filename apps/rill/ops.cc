// rill ops: the operator standard and the kernels that this machine will run.

#include <fmt/format.h>

#include "command.h"
#include "rill/cpu_isas.h"

namespace rill::app {

void AddOps(CLI::App& app, CommandContext& context) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("ops", "Operators, backends, kernels chosen here");
  command->footer(
      "RILL_CPU_ISA=NAME chooses an older instruction set than the best that is present; the bits "
      "of\nevery result stay the same.\nExample:\n  RILL_CPU_ISA=avx2 rill ops");
  command->add_flag("--json", *json, "Machine-readable output");
  command->callback([json, &context] {
    const Result<CpuIsas> isas = FindCpuIsas();
    if (!isas.ok()) {
      context.exit_code = ReportError(isas.status(), *json);
      return;
    }
    Json report = DescribeOps();
    if (*json) {
      Json::Array names;
      for (const std::string& name : isas->available) names.emplace_back(name);
      report.Set("cpu_isas", std::move(names));
      report.Set("cpu_isa", isas->in_use);
      Json aliases{Json::Object{}};
      for (const auto& [name, meaning] : isas->aliases) aliases.Set(name, meaning);
      report.Set("cpu_isa_aliases", std::move(aliases));
      PrintJson(report);
      return;
    }
    std::string out;
    for (const Json& backend : report.Find("backends")->array()) {
      out += backend.Find("description")->string_value() + "\n";
    }
    out += "instruction sets here, by their RILL_CPU_ISA:";
    for (const std::string& name : isas->available) {
      out += " " + name + (name == isas->in_use ? " (in use)" : "");
    }
    for (size_t i = 0; i < isas->aliases.size(); ++i) {
      const auto& [name, meaning] = isas->aliases[i];
      out += (i == 0 ? "\nother names: " : "; ") + name + " = " + meaning;
    }
    out += "\n\n";
    for (const Json& op : report.Find("ops")->array()) {
      out += fmt::format("{:<20} {}\n", op.Find("name")->string_value(),
                         op.Find("summary")->string_value());
      for (const auto& [backend, kernel] : op.Find("kernels")->object()) {
        out += fmt::format("{:<20}   {:<10} {}\n", "", backend, kernel.string_value());
      }
    }
    WriteStdout(out);
  });
}

}  // namespace rill::app
