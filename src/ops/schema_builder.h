// SchemaBuilder: builds an OpSchema from pointers to the argument struct's members, so that kinds
// and offsets come from the struct itself. Build() CHECKs that no member is left out.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ops/activation.h"
#include "ops/op_schema.h"

namespace rill::ops {

namespace internal {

struct AnyMember {
  template <typename T>
  operator T() const;  // never defined: only for counting
};

// Number of members of an aggregate: the most initialisers it takes.
template <typename Args, typename... Members>
constexpr size_t CountMembers() {
  if constexpr (requires { Args{Members{}..., AnyMember{}}; }) {
    return CountMembers<Args, Members..., AnyMember>();
  } else {
    return sizeof...(Members);
  }
}

template <typename Member>
constexpr ParamKind KindOf() {
  if constexpr (std::is_same_v<Member, TensorView>)
    return ParamKind::kTensor;
  else if constexpr (std::is_same_v<Member, MutableTensorView>)
    return ParamKind::kMutableTensor;
  else if constexpr (std::is_same_v<Member, const PackedWeight*>)
    return ParamKind::kWeight;
  else if constexpr (std::is_same_v<Member, const PagedKvView*>)
    return ParamKind::kKv;
  else if constexpr (std::is_same_v<Member, float>)
    return ParamKind::kF32;
  else if constexpr (std::is_same_v<Member, int32_t>)
    return ParamKind::kI32;
  else if constexpr (std::is_same_v<Member, bool>)
    return ParamKind::kBool;
  else {
    static_assert(std::is_enum_v<Member> && sizeof(Member) == 4, "no ParamKind for this type");
    return ParamKind::kEnum;
  }
}

}  // namespace internal

template <typename Args>
class SchemaBuilder {
 public:
  SchemaBuilder(OpId id, std::string_view name, std::string_view summary) {
    schema_.id = id;
    schema_.name = name;
    schema_.summary = summary;
    schema_.args_size = sizeof(Args);
    schema_.num_members = internal::CountMembers<Args>();
  }
  SchemaBuilder& Formula(std::string_view text) { return schema_.formula = text, *this; }
  SchemaBuilder& Source(std::string_view text) { return schema_.source = text, *this; }
  SchemaBuilder& Tags(std::vector<std::string_view> tags) {
    return schema_.tags = std::move(tags), *this;
  }
  // See OpSchema::macs.
  SchemaBuilder& Macs(std::string_view expression) { return schema_.macs = expression, *this; }
  SchemaBuilder& Constraint(std::string_view text) {
    return schema_.constraints.push_back(text), *this;
  }

  // Parameters, in the order of the struct's members. Tensors are f32 unless DTypes() follows.
  template <typename Member>
  SchemaBuilder& In(std::string_view name, Member Args::* member, std::string_view dims,
                    std::string_view doc) {
    return Tensor(name, member, dims, doc, ParamRole::kIn);
  }
  template <typename Member>
  SchemaBuilder& Out(std::string_view name, Member Args::* member, std::string_view dims,
                     std::string_view doc) {
    return Tensor(name, member, dims, doc, ParamRole::kOut);
  }
  template <typename Member>
  SchemaBuilder& InOut(std::string_view name, Member Args::* member, std::string_view dims,
                       std::string_view doc) {
    return Tensor(name, member, dims, doc, ParamRole::kInOut);
  }
  template <typename Member>
  SchemaBuilder& Attribute(std::string_view name, Member Args::* member, std::string_view doc) {
    return Add(name, member, {}, doc, ParamRole::kAttribute);
  }

  // These qualify the parameter before them.
  SchemaBuilder& Optional() { return last().optional = true, *this; }
  SchemaBuilder& DTypes(std::vector<DType> dtypes) {
    return last().dtypes = std::move(dtypes), *this;
  }
  SchemaBuilder& MayAlias(std::vector<std::string_view> names) {
    return last().may_alias = std::move(names), *this;
  }
  SchemaBuilder& Range(double min, double max) {
    last().min = min;
    last().max = max;
    return *this;
  }
  SchemaBuilder& Enum(std::vector<std::string_view> names) {
    return last().enum_names = std::move(names), *this;
  }
  SchemaBuilder& Pairing(std::string_view pairing) { return last().pairing = pairing, *this; }

  OpSchema Build() {
    CHECK(schema_.params.size() == schema_.num_members)
        << schema_.name << ": " << schema_.num_members << " members, " << schema_.params.size()
        << " parameters";
    return std::move(schema_);
  }

 private:
  template <typename Member>
  SchemaBuilder& Tensor(std::string_view name, Member Args::* member, std::string_view dims,
                        std::string_view doc, ParamRole role) {
    Add(name, member, dims, doc, role);
    const ParamKind kind = last().kind;
    CHECK((kind == ParamKind::kMutableTensor) == (role != ParamRole::kIn) || kind == ParamKind::kKv)
        << schema_.name << ": " << name << ": role and const-ness differ";
    if (kind == ParamKind::kTensor || kind == ParamKind::kMutableTensor) {
      last().dtypes = {DType::kF32};
    }
    return *this;
  }

  template <typename Member>
  SchemaBuilder& Add(std::string_view name, Member Args::* member, std::string_view dims,
                     std::string_view doc, ParamRole role) {
    static const Args probe{};
    OpParam param;
    param.name = name;
    param.kind = internal::KindOf<Member>();
    param.role = role;
    param.offset = static_cast<size_t>(reinterpret_cast<const std::byte*>(&(probe.*member)) -
                                       reinterpret_cast<const std::byte*>(&probe));
    param.dims = dims;
    param.doc = doc;
    schema_.params.push_back(std::move(param));
    return *this;
  }
  OpParam& last() { return schema_.params.back(); }

  OpSchema schema_;
};

// Names of ActivationKind, in order.
inline std::vector<std::string_view> ActivationNames() {
  return {"silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "identity"};
}

}  // namespace rill::ops
