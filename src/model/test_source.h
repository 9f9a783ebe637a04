// For tests: a tiny Llama in memory, whose configuration and tensors a test may spoil.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "io/model_source.h"

namespace rill::model {

class TestSource {
 public:
  TestSource() {
    auto config = Json::Parse(
        R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 40,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 50, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": false})",
        "test");
    config_ = *config;
    AddTensor("model.embed_tokens.weight", {50, 32});
    AddTensor("model.norm.weight", {32});
    AddTensor("lm_head.weight", {50, 32});
    for (const std::string layer : {"0", "1"}) {
      const std::string p = "model.layers." + layer + ".";
      AddTensor(p + "input_layernorm.weight", {32});
      AddTensor(p + "post_attention_layernorm.weight", {32});
      AddTensor(p + "self_attn.q_proj.weight", {32, 32});
      AddTensor(p + "self_attn.k_proj.weight", {16, 32});
      AddTensor(p + "self_attn.v_proj.weight", {16, 32});
      AddTensor(p + "self_attn.o_proj.weight", {32, 32});
      AddTensor(p + "mlp.gate_proj.weight", {40, 32});
      AddTensor(p + "mlp.up_proj.weight", {40, 32});
      AddTensor(p + "mlp.down_proj.weight", {32, 40});
    }
  }

  void AddTensor(const std::string& name, Shape shape, DType dtype = DType::kF32) {
    tensors_.push_back({name, shape, dtype});
    data_.emplace_back(static_cast<size_t>(shape.NumElements()));
    for (float& value : data_.back()) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      value = static_cast<float>(static_cast<int64_t>(state_ >> 40) - (1 << 23)) / (1 << 24);
    }
  }
  void Remove(const std::string& name) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) tensors_[i].name = "renamed." + name;
    }
  }
  void Reshape(const std::string& name, Shape shape) {
    for (Tensor& tensor : tensors_) {
      if (tensor.name == name) tensor.shape = shape;
    }
  }
  void Retype(const std::string& name, DType dtype) {
    for (Tensor& tensor : tensors_) {
      if (tensor.name == name) tensor.dtype = dtype;
    }
  }
  float* Data(const std::string& name) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) return data_[i].data();
    }
    return nullptr;
  }
  Json& config() { return config_; }

  // Views into this object, which must outlive it.
  io::ModelSource Make() const {
    io::ModelSource source;
    source.format = io::ModelFormat::kHuggingFace;
    source.path = source.folder = "tiny";
    source.config = config_;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      io::TensorEntry entry;
      entry.name = tensors_[i].name;
      entry.view = TensorView(data_[i].data(), tensors_[i].dtype, tensors_[i].shape);
      CHECK(source.tensors.Add(entry).ok());
    }
    return source;
  }

 private:
  struct Tensor {
    std::string name;
    Shape shape;
    DType dtype;
  };
  Json config_;
  std::vector<Tensor> tensors_;
  std::deque<std::vector<float>> data_;
  uint64_t state_ = 42;
};

}  // namespace rill::model
