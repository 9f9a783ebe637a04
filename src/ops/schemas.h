// The schema of every op: <Name>Schema(), one file ops/<op>.cc each. Callers use SchemaOf().
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

#define OP(file, Name) const OpSchema& Name##Schema();
#include "ops/op_list.def"
#undef OP

}  // namespace rill::ops
