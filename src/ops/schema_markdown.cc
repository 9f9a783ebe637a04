#include "ops/schema_markdown.h"

#include <sstream>

#include "ops/dim_solver.h"

namespace rill::ops {
namespace {

constexpr std::string_view kNote =
    "<!-- Made by build/ci/tests/gen_op_docs docs/ops from src/ops/*.cc; edit those. -->\n\n";

std::string Joined(const std::vector<std::string_view>& words) {
  std::string text;
  for (std::string_view word : words) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string_view RoleName(ParamRole role) {
  switch (role) {
    case ParamRole::kIn: return "in";
    case ParamRole::kOut: return "out";
    case ParamRole::kInOut: return "in and out";
    case ParamRole::kAttribute: return "attribute";
  }
  return "";
}

std::string TypeOf(const OpParam& param) {
  std::string text;
  switch (param.kind) {
    case ParamKind::kTensor:
    case ParamKind::kMutableTensor:
      for (DType dtype : param.dtypes)
        text += (text.empty() ? "" : ", ") + std::string(DTypeName(dtype));
      return text;
    case ParamKind::kWeight:
      return "weight" + (param.pairing.empty() ? "" : ", " + std::string(param.pairing));
    case ParamKind::kKv: return "KV pages";
    case ParamKind::kF32: return "f32";
    case ParamKind::kI32: return "i32";
    case ParamKind::kBool: return "bool";
    case ParamKind::kEnum: return "one of " + Joined(param.enum_names);
  }
  return text;
}

std::string ShapeOf(const OpParam& param) {
  std::string text;
  for (std::string_view alternative : SplitTrimmed(param.dims, '|')) {
    text += (text.empty() ? "`[" : " or `[") + std::string(alternative) + "]`";
  }
  return text;
}

std::string NotesOf(const OpParam& param) {
  std::ostringstream text;
  text << param.doc;
  if (param.optional) text << "; optional";
  if (!param.may_alias.empty()) text << "; may be " << Joined(param.may_alias) << " itself";
  if (param.min != 0 || param.max != 0) text << "; in [" << param.min << ", " << param.max << "]";
  return text.str();
}

}  // namespace

std::string SchemaMarkdown(const OpSchema& schema) {
  std::ostringstream page;
  page << kNote << "# " << schema.name << "\n\n"
       << schema.summary << ".\n\n```\n"
       << schema.formula << "\n```\n\n"
       << "Version " << schema.version << ". Tags: " << Joined(schema.tags) << ".";
  if (!schema.macs.empty()) page << " Multiply-adds: `" << schema.macs << "`.";
  if (!schema.source.empty()) page << " Source: " << schema.source << ".";
  page << " Arithmetic: [numerics](../numerics.md). Contract in full: `src/ops/" << schema.name
       << ".h`.\n\n| parameter | role | type | shape | |\n|---|---|---|---|---|\n";
  for (const OpParam& param : schema.params) {
    page << "| `" << param.name << "` | " << RoleName(param.role) << " | " << TypeOf(param) << " | "
         << Escaped(ShapeOf(param)) << " | " << Escaped(NotesOf(param)) << " |\n";
  }
  page << "\nA name that occurs twice has one size. Strides of tensors are not negative and the "
          "last "
          "one is 1;\noutputs share memory with nothing but what the table allows.\n";
  if (!schema.constraints.empty()) {
    page << "\nAlso required:";
    for (std::string_view constraint : schema.constraints) page << " `" << constraint << "`";
    page << "\n";
  }
  return page.str();
}

std::string SchemaIndexMarkdown() {
  std::ostringstream page;
  page << kNote
       << "# Operators\n\nThe operator standard: what a model is made of and what a backend "
          "implements.\n\n| op | | tags |\n|---|---|---|\n";
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    page << "| [" << schema.name << "](" << schema.name << ".md) | " << schema.summary << " | "
         << Joined(schema.tags) << " |\n";
  }
  return page.str();
}

}  // namespace rill::ops
