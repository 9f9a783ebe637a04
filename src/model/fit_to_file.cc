#include "model/fit_to_file.h"

#include <cstring>

namespace rill::model {
namespace {

struct Prefix {
  std::string_view named, in_file;
};
constexpr Prefix kPrefixes[] = {
    {"model.", ""},
    {"transformer.", ""},
    {"gpt_neox.", ""},
    {"language_model.model.", "model.language_model."},
};

bool Has(const io::TensorDirectory& tensors, const std::string& base) {
  return tensors.Find(base + ".weight") != nullptr;
}

std::string Renamed(const std::string& name, const Prefix& prefix) {
  if (!name.starts_with(prefix.named)) return name;
  return std::string(prefix.in_file) + name.substr(prefix.named.size());
}

}  // namespace

void FitNames(const io::TensorDirectory& tensors, WeightNames& names) {
  if (Has(tensors, names.embed)) return;
  for (const Prefix& prefix : kPrefixes) {
    if (!names.embed.starts_with(prefix.named) || !Has(tensors, Renamed(names.embed, prefix))) {
      continue;
    }
    for (std::string* name :
         {&names.embed, &names.positions, &names.token_types, &names.embed_norm, &names.final_norm,
          &names.project_in, &names.project_out, &names.layer}) {
      *name = Renamed(*name, prefix);
    }
    // The head belongs to the model around the bare one.
    if (!Has(tensors, names.lm_head) && Has(tensors, "lm_head")) names.lm_head = "lm_head";
    return;
  }
}

void FitHead(const io::TensorDirectory& tensors, Description& out) {
  if (!out.spec.tied_embedding || out.spec.is_encoder) return;
  if (tensors.Find(out.names.lm_head + ".qweight") != nullptr) {  // no copy of what is not packed
    out.spec.tied_embedding = false;
    return;
  }
  const io::TensorEntry* embed = tensors.Find(out.names.embed + ".weight");
  const io::TensorEntry* head = tensors.Find(out.names.lm_head + ".weight");
  if (embed == nullptr || head == nullptr || !(embed->view.shape == head->view.shape)) return;
  if (embed->view.data == nullptr || head->view.data == nullptr) return;
  const bool is_copy = embed->view.dtype == head->view.dtype &&
                       std::memcmp(embed->view.data, head->view.data,
                                   static_cast<size_t>(embed->view.SizeBytes())) == 0;
  if (!is_copy) out.spec.tied_embedding = false;
}

}  // namespace rill::model
