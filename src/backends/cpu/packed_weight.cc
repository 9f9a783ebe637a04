#include "backends/cpu/packed_weight.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "backends/cpu/panel_source.h"
#include "base/checked_math.h"
#include "quant/scale_fields.h"

namespace rill::cpu {

AlignedBytes::AlignedBytes(int64_t size_bytes) {
  constexpr int64_t kHuge = int64_t{2} << 20;
  if (size_bytes < 4 * kHuge) {
    const int64_t rounded = (size_bytes + 63) / 64 * 64;
    data_ = std::aligned_alloc(64, static_cast<size_t>(rounded));
    if (data_ == nullptr) return;
    std::memset(data_, 0, static_cast<size_t>(rounded));
    size_bytes_ = size_bytes;
    return;
  }
  // Fresh pages are zero already: whoever writes them first, in parallel, pays for them.
  mapped_bytes_ = static_cast<size_t>(size_bytes + kHuge);
  void* mapping =
      mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return;
  mapping_ = mapping;
  const uintptr_t address = reinterpret_cast<uintptr_t>(mapping);
  data_ = reinterpret_cast<void*>((address + kHuge - 1) / kHuge * kHuge);
  // Panels are read from end to end: with 4 KiB pages a good part of that is TLB misses.
  madvise(data_, static_cast<size_t>(size_bytes), MADV_HUGEPAGE);
  size_bytes_ = size_bytes;
}

AlignedBytes::~AlignedBytes() {
  if (mapping_ != nullptr) {
    munmap(mapping_, mapped_bytes_);
  } else {
    std::free(data_);
  }
}

WeightMemory::Piece WeightMemory::Take(int64_t size_bytes) {
  constexpr int64_t kChunkBytes = int64_t{64} << 20;
  // The f32 kernel of AVX-512 reads lines at offsets of up to 3 bytes, so beyond the last one.
  const int64_t size = (size_bytes + 3 + 63) / 64 * 64;
  if (size > kChunkBytes / 4) {
    auto own = std::make_shared<AlignedBytes>(size);
    return {own->data(), size_bytes, own};
  }
  if (chunk_ == nullptr || used_bytes_ + size > chunk_->size_bytes()) {
    // What is left of the last one was never touched: it takes no memory.
    chunk_ = std::make_shared<AlignedBytes>(kChunkBytes);
    used_bytes_ = 0;
    if (chunk_->data() == nullptr) {
      chunk_ = nullptr;
      return {};
    }
  }
  Piece piece{chunk_->data() + used_bytes_, size_bytes, chunk_};
  used_bytes_ += size;
  return piece;
}

namespace {

// Fills `memory` from what an earlier load kept, or leaves it as it was: zeros.
bool Restore(const ops::PackedBytes& packed, const WeightMemory::Piece& memory, ThreadPool& pool) {
  constexpr int64_t kPiece = ops::PackedBytes::kPieceBytes;
  if (packed.size_bytes() != memory.size_bytes) return false;
  std::atomic<bool> ok{true};
  pool.ParallelFor((memory.size_bytes + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && ok.load(std::memory_order_relaxed); ++i) {
      const int64_t at = i * kPiece;
      const int64_t count = std::min(kPiece, memory.size_bytes - at);
      auto* out = reinterpret_cast<std::byte*>(memory.data + at);
      if (!packed.Read(at, {out, static_cast<size_t>(count)})) ok = false;
    }
  });
  if (!ok) std::memset(memory.data, 0, static_cast<size_t>(memory.size_bytes));
  return ok;
}

}  // namespace

std::string PanelLayoutName() {
  // The formats as text, so that a change of the list cannot be forgotten; of everything else that
  // makes panels, PanelLayout.Version_NamesTheBytes (panel_layout_test.cc) watches the bytes.
  std::string text = "cpu panels " + std::to_string(kPanelLayoutVersion);
#define EXEC(Name, bits, code, offset, group, scale) \
  text += " " #Name "," #bits "," #code "," #offset "," #group "," #scale;
#include "backends/cpu/exec_list.def"
#undef EXEC
  return text;
}

Result<std::unique_ptr<CpuWeight>> CpuWeight::Pack(const ops::WeightSource& source,
                                                   ThreadPool& pool, WeightMemory& memory) {
  const auto error = [&](const std::string& what) {
    return InvalidArgument("weight '" + source.name + "': " + what);
  };
  if (source.parts.empty()) return error("no parts");
  auto weight = std::make_unique<CpuWeight>();
  weight->name_ = source.name;
  weight->paired_ = source.paired;
  const TensorView& first = source.parts.front();
  if (first.rank() != 2 && first.rank() != 3) {
    return error("expected rank 2 or 3, got shape " + first.shape.ToString());
  }
  const int rank = first.rank();
  weight->num_experts_ = rank == 3 ? first.dim(0) : 1;
  weight->cols_ = first.dim(rank - 1);
  int64_t total_bytes = 0;
  std::vector<PanelSource> panels;
  for (const TensorView& part : source.parts) {
    const quant::RowReader* reader = ops::ReaderOf(source, weight->segments_.size());
    if (part.rank() != rank || part.dim(rank - 1) != weight->cols_ ||
        (rank == 3 && part.dim(0) != weight->num_experts_)) {
      return error("parts " + first.shape.ToString() + " and " + part.shape.ToString() +
                   " do not stack");
    }
    if (part.dim(rank - 2) <= 0 || weight->cols_ <= 0 || weight->num_experts_ <= 0) {
      return error("empty shape " + part.shape.ToString());
    }
    if (!RowBytes(part.dtype, weight->cols_)) {
      return error("rows of " + std::to_string(weight->cols_) + " are no whole blocks of " +
                   std::string(DTypeName(part.dtype)));
    }
    if (reader != nullptr && weight->segments_.empty()) weight->KeepOrder(*reader);
    if (source.row_access && !weight->order_.empty()) {
      return error("an embedding cannot have columns in another order");
    }
    Segment segment;
    if (source.matmul) {
      Result<PanelSource> made = PanelSource::Make(part, reader);
      if (!made.ok()) return made.status().WithPrefix("weight '" + source.name + "'");
      segment.exec = made->layout().exec;
      segment.dtype = made->layout().dtype;
      segment.group_units = made->layout().group_units;
      panels.push_back(std::move(*made));
    }
    segment.q8 = source.activations == ops::ActivationMode::kQ8 && segment.exec != ExecId::kNone;
    segment.row0 = weight->rows_;
    segment.rows = part.dim(rank - 2);
    segment.num_panels = (segment.rows + kPanelRows - 1) / kPanelRows;
    weight->rows_ += segment.rows;
    weight->num_panels_ += segment.num_panels;
    weight->any_half_groups_ |= segment.q8 && FormatOf(segment.exec).group == 16;
    if (source.matmul) {
      segment.panel_bytes = panels.back().layout().panel_bytes;
      const auto expert_bytes = CheckedMul(segment.num_panels, segment.panel_bytes);
      const auto bytes =
          expert_bytes ? CheckedMul(*expert_bytes, weight->num_experts_) : std::nullopt;
      const auto sum = bytes ? CheckedAdd(total_bytes, *bytes) : std::nullopt;
      if (!sum) return error("too large: " + part.shape.ToString());
      segment.expert_bytes = *expert_bytes;
      total_bytes = *sum;
    }
    weight->segments_.push_back(segment);
  }
  if (source.paired &&
      (source.parts.size() != 2 || weight->segments_[0].rows != weight->segments_[1].rows)) {
    return error("paired: expected two parts with the same number of rows");
  }
  if (!source.matmul) {
    if (source.parts.size() != 1 || rank != 2 || first.data == nullptr) {
      return error("in place: expected one matrix in memory");
    }
    weight->in_place_ = first;
    const int64_t row_bytes = first.SizeBytes() / std::max<int64_t>(1, first.dim(0));
    std::atomic<bool> finite{true};
    pool.ParallelFor(first.dim(0), 256, [&](int64_t begin, int64_t end) {
      const auto found = quant::FindNonFinite(first.dtype, first.data + begin * row_bytes,
                                              (end - begin) * first.dim(1));
      if (found.bad > 0) finite.store(false, std::memory_order_relaxed);
    });
    weight->all_finite_ = finite.load(std::memory_order_relaxed);
    return weight;
  }

  weight->memory_ = memory.Take(total_bytes);
  if (weight->memory_.data == nullptr) {
    return ResourceExhausted("weight '" + source.name + "': no memory for " +
                             std::to_string(total_bytes) + " bytes");
  }
  uint8_t* data = weight->memory_.data;
  std::atomic<bool> all_finite{true};
  const bool restored = source.packed != nullptr && Restore(*source.packed, weight->memory_, pool);
  for (size_t i = 0; i < source.parts.size(); ++i) {
    Segment& segment = weight->segments_[i];
    segment.data = data;
    data += segment.expert_bytes * weight->num_experts_;
    if (restored) continue;
    pool.ParallelFor(weight->num_experts_ * segment.num_panels, 1, [&](int64_t begin, int64_t end) {
      PanelSource::Buffers buffers;
      bool finite = true;
      for (int64_t i_panel = begin; i_panel < end; ++i_panel) {
        const int64_t expert = i_panel / segment.num_panels;
        const int64_t panel = i_panel % segment.num_panels;
        finite &= panels[i].Pack(expert, panel, buffers,
                                 const_cast<uint8_t*>(segment.Panel(expert, panel)));
      }
      if (!finite) all_finite.store(false, std::memory_order_relaxed);
    });
  }
  // Weights that are not finite are never kept (packed_data), so that every load warns of them.
  weight->all_finite_ = all_finite.load(std::memory_order_relaxed);
  return weight;
}

void CpuWeight::KeepOrder(const quant::RowReader& reader) {
  bool any = false;
  for (int64_t e = 0; e < num_experts_; ++e) any |= !reader.Order(e).empty();
  if (!any) return;
  order_.resize(static_cast<size_t>(num_experts_ * cols_));
  for (int64_t e = 0; e < num_experts_; ++e) {
    const auto order = reader.Order(e);
    int32_t* out = order_.data() + e * cols_;
    if (order.empty()) {
      std::iota(out, out + cols_, 0);
    } else {
      std::copy(order.begin(), order.end(), out);
    }
  }
}

std::string CpuWeight::Describe() const {
  if (!in_place_.empty()) return "in place " + std::string(DTypeName(in_place_.dtype));
  std::string text = "panel16 ";
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& s = segments_[i];
    if (i > 0 && s.dtype == segments_[i - 1].dtype) continue;
    text += (i ? " + " : "") + std::string(DTypeName(s.dtype)) + (s.q8 ? " x q8" : " x f32");
  }
  return text;
}

}  // namespace rill::cpu
