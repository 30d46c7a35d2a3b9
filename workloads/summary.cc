// A network known only by its totals: equal square linear layers of the same FLOPs and parameters, with the activations
// written and read once by memory passes.
#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "workloads/parallel.h"

namespace farscale {
namespace {

struct SummaryLayer {
  GemmProblem gemm;
  double flops = 0, gemm_bytes = 0, memory_bytes = 0;
  int64_t parameters = 0;
};

SummaryLayer layer_of(const Lowering& l) {
  const Summary& summary = l.data.summary;
  const double layers = double(summary.layers);
  SummaryLayer layer;
  layer.parameters = summary.parameters / summary.layers;
  layer.flops = summary.forward_flops * double(l.micro_batch) / layers;
  const auto width = std::max<int64_t>(1, std::llround(std::sqrt(double(layer.parameters))));
  const int64_t rows = std::max<int64_t>(1, std::llround(layer.flops / (2.0 * double(width) * double(width))));
  layer.gemm = {.m = rows, .n = width, .k = width, .type = l.data.types.compute, .transpose_b = true};
  layer.gemm_bytes = (2.0 * double(rows) + double(width)) * double(width) * l.compute_size;
  layer.memory_bytes = summary.activation_bytes * double(l.micro_batch) / layers;
  return layer;
}

void add_task(LoweredStep& step, Pass pass, const SummaryLayer& layer, const GemmProblem& gemm) {
  StepTask& task = step.tasks.emplace_back();
  task.pass = pass;
  task.kind = KernelClass::kLinear;
  task.layer = "layer";
  task.gemm = gemm;
  task.flops = layer.flops;
  task.bytes = layer.gemm_bytes;
}

void add_pass(LoweredStep& step, Pass pass, double bytes) {
  StepTask& task = step.tasks.emplace_back();
  task.pass = pass;
  task.layer = "layer";
  task.bytes = bytes;
}

}  // namespace

LoweredStep lower_summary(const Lowering& l) {
  const Layout& layout = l.layout();
  if (layout.tp * layout.pp * layout.cp * layout.ep > 1) {
    throw InputError(l.data.name + ": a summary has no layers to divide: only dp and zero are possible");
  }
  const SummaryLayer layer = layer_of(l);
  LoweredStep step;
  step.micro_batch = l.micro_batch;
  step.samples_per_step = layout.dp * l.micro_batch * layout.accumulation;
  step.input_bytes = l.data.inputs.stored_bytes * double(l.micro_batch);
  step.decoded_bytes = l.data.inputs.decoded_bytes * double(l.micro_batch);
  for (int64_t i = 0; i < l.data.summary.layers; ++i) {
    add_task(step, Pass::kForward, layer, layer.gemm);
    add_pass(step, Pass::kForward, 2 * layer.memory_bytes);
  }
  const GemmProblem& g = layer.gemm;
  std::vector<ReadyGradient> ready;
  std::vector<size_t> done;
  for (int64_t i = 0; i < l.data.summary.layers; ++i) {
    add_pass(step, Pass::kDataGradient, 3 * layer.memory_bytes);
    add_task(step, Pass::kDataGradient, layer, {.m = g.m, .n = g.k, .k = g.n, .type = g.type});
    add_task(step, Pass::kWeightGradient, layer, {.m = g.n, .n = g.k, .k = g.m, .type = g.type, .transpose_a = true});
    const bool last = i + 1 == l.data.summary.layers;
    const int64_t rest = last ? l.data.summary.parameters % l.data.summary.layers : 0;
    ready.push_back({.elements = layer.parameters + rest});
    step.tasks.back().gradient_bytes = static_cast<int64_t>(double(ready.back().elements) * l.gradient_size);
    done.push_back(step.tasks.size() - 1);
  }
  for (const BucketPlan& bucket : plan_buckets(ready, l.gradient_size, l.options)) {
    step.buckets.push_back({.bytes = static_cast<int64_t>(double(bucket.elements) * l.gradient_size),
                            .ready_after = done[bucket.last],
                            .ranks = replica_ranks(layout)});
  }
  const double parameters = double(l.data.parameters);
  add_pass(step, Pass::kOptimizer, parameters * 30);
  step.tasks.back().kind = KernelClass::kOptimizer;
  step.forward_flops = l.data.forward_flops * double(l.micro_batch);
  step.training_flops = step.executed_flops = 3 * step.forward_flops;
  step.activation_bytes = l.data.summary.activation_bytes * double(l.micro_batch);
  const double shards = double(layout.zero_stage > 0 ? shard_ranks(layout) : 1);
  step.memory_bytes =
      parameters * (bytes_per_element(l.data.types.parameters) + l.gradient_size + 12 / shards) + step.activation_bytes;
  return step;
}

}  // namespace farscale
