// What part of a tensor or a layer one GPU holds.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "workloads/lowering.h"

namespace farscale {

LocalRows local_rows(const Lowering& lowering, const Shape& shape) {
  const int64_t cp = lowering.layout().cp;
  LocalRows rows{shape.items * lowering.micro_batch, shape.positions()};
  if (cp == 1) return rows;
  if (shape.items % cp == 0) {
    rows.items /= cp;
  } else {
    rows.positions = (rows.positions + cp - 1) / cp;
  }
  return rows;
}

double local_elements(const Lowering& lowering, int tensor) {
  const Shape& shape = lowering.graph().shape(tensor);
  double elements = double(local_rows(lowering, shape).rows()) * double(shape.channels);
  const Layer* producer = lowering.producer(tensor);
  // With sequence parallelism every tensor of a divided layer is divided: by rows or by width.
  if (producer != nullptr && producer->split != Split::kNone) elements /= double(lowering.layout().tp);
  return elements;
}

double local_bytes(const Lowering& lowering, int tensor) {
  return local_elements(lowering, tensor) * lowering.activation_size;
}

int64_t local_parameter(const Lowering& lowering, const Layer& layer, const Parameter& parameter) {
  int64_t elements = parameter.elements;
  const bool bias_of_row = layer.split == Split::kRow && parameter.name == "bias";
  const bool divided = layer.split == Split::kColumn || layer.split == Split::kVocabulary ||
                       (layer.split == Split::kRow && !bias_of_row);
  if (divided) elements = (elements + lowering.layout().tp - 1) / lowering.layout().tp;
  if (layer.expert) elements /= lowering.layout().ep;
  return elements;
}

int64_t local_parameters(const Lowering& lowering, const Layer& layer) {
  int64_t count = 0;
  for (const Parameter& parameter : layer.parameters) count += local_parameter(lowering, layer, parameter);
  return count;
}

namespace {

void check_divides(const Layer& layer, int64_t size, const char* what, int64_t parts, const char* key) {
  if (size % parts == 0) return;
  throw InputError(fmt::format("{}: its {} {} do not divide by {}={}", layer.name, size, what, key, parts));
}

}  // namespace

void check_layout(const Lowering& lowering) {
  const Layout& layout = lowering.layout();
  const Graph& graph = lowering.graph();
  constexpr double kMostValues = 1e17;  // below what whole numbers hold
  for (const Tensor& tensor : graph.tensors) {
    if (double(tensor.shape.elements()) * double(lowering.micro_batch) < kMostValues) continue;
    throw InputError(fmt::format("{}: a micro-batch of {} makes a tensor of {:.2g} values: use a smaller mb",
                                 lowering.data.name, lowering.micro_batch,
                                 double(tensor.shape.elements()) * double(lowering.micro_batch)));
  }
  bool divided = false, experts = false, batch_norms = false;
  for (const Layer& layer : graph.layers) {
    const auto width = [&](int tensor) { return graph.shape(tensor).channels; };
    if (layer.split == Split::kColumn) {
      check_divides(layer, width(layer.output), "outputs", layout.tp, "tp");
      divided = true;
    }
    if (layer.split == Split::kRow) {
      check_divides(layer, width(layer.inputs[0]), "inputs", layout.tp, "tp");
    }
    if (layer.split == Split::kHeads) {
      check_divides(layer, layer.attention.heads, "heads", layout.tp, "tp");
      check_divides(layer, layer.attention.kv_heads, "heads of keys and values", layout.tp, "tp");
    }
    batch_norms = batch_norms || (layer.op == Op::kNorm && layer.norm == NormKind::kBatch && !layer.frozen);
    if (layer.experts > 0) {
      check_divides(layer, layer.experts, "experts", layout.ep, "ep");
      experts = true;
    }
  }
  if (layout.tp > 1 && !divided) {
    throw InputError(fmt::format("{}: no layer can be divided by tensor parallelism: use tp=1", lowering.data.name));
  }
  if (layout.sync_batch_norm && !batch_norms) {
    throw InputError(fmt::format("{}: has no batch norms to synchronise: use sync_bn=0", lowering.data.name));
  }
  if (layout.ep > 1 && layout.hsdp_shard > 0) {
    throw InputError(fmt::format("{}: shards of a part of the ranks (hsdp={}) are not modelled with experts (ep={})",
                                 lowering.data.name, layout.hsdp_shard, layout.ep));
  }
  if (layout.ep > 1 && !experts) {
    throw InputError(fmt::format("{}: has no experts: use ep=1", lowering.data.name));
  }
}

}  // namespace farscale
