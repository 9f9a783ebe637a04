#include "ops/op_schema.h"

// Declares <Name>Schema() of every op.
#include "ops/backend.h"

namespace rill::ops {

const OpParam* OpSchema::FindParam(std::string_view param_name) const {
  for (const OpParam& param : params) {
    if (param.name == param_name) return &param;
  }
  return nullptr;
}

const OpSchema& SchemaOf(OpId id) {
  using Getter = const OpSchema& (*)();
  static constexpr Getter kGetters[] = {
#define OP(file, Name) Name##Schema,
#include "ops/op_list.def"
#undef OP
  };
  return kGetters[static_cast<int>(id)]();
}

const OpSchema* FindSchema(std::string_view name) {
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    if (schema.name == name) return &schema;
  }
  return nullptr;
}

}  // namespace rill::ops
