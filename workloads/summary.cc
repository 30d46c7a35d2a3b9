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
  int64_t parameters = 0, rest = 0;  // of one layer, and what is left over
};

SummaryLayer layer_of(const Lowering& l) {
  const Summary& summary = l.data.summary;
  const double layers = double(summary.layers);
  SummaryLayer layer;
  layer.parameters = summary.parameters / summary.layers;
  layer.rest = summary.parameters % summary.layers;
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

void check_summary(const Lowering& l) {
  const Layout& layout = l.layout();
  const auto refuse = [&](const char* why) { throw InputError(l.data.name + ": a summary has no " + why); };
  if (layout.tp * layout.pp * layout.cp * layout.ep > 1) refuse("layers to divide: only dp and zero are possible");
  if (layout.checkpoint == Layout::Checkpoint::kAll) refuse("blocks to recompute: use ckpt=0");
  if (layout.sync_batch_norm) refuse("batch norms to synchronise: use sync_bn=0");
}

// Forward and backward tasks; the first of each layer's, and the gradients in the order in which they are ready.
struct SummaryTasks {
  std::vector<WeightUnit> units;
  std::vector<ReadyGradient> ready;
  std::vector<size_t> done;
};

SummaryTasks add_tasks(const Lowering& l, LoweredStep& step) {
  const SummaryLayer layer = layer_of(l);
  const GemmProblem& g = layer.gemm;
  const auto layers = static_cast<size_t>(l.data.summary.layers);
  SummaryTasks tasks{.units = std::vector<WeightUnit>(layers)};
  for (size_t i = 0; i < layers; ++i) {
    tasks.units[i].held.dense = double(layer.parameters + (i == 0 ? layer.rest : 0));
    tasks.units[i].forward = step.tasks.size();
    add_task(step, Pass::kForward, layer, g);
    add_pass(step, Pass::kForward, 2 * layer.memory_bytes);
  }
  for (size_t i = layers; i-- > 0;) {
    tasks.units[i].backward = step.tasks.size();
    add_pass(step, Pass::kDataGradient, 3 * layer.memory_bytes);
    add_task(step, Pass::kDataGradient, layer, {.m = g.m, .n = g.k, .k = g.n, .type = g.type});
    add_task(step, Pass::kWeightGradient, layer, {.m = g.n, .n = g.k, .k = g.m, .type = g.type, .transpose_a = true});
    const auto elements = static_cast<int64_t>(tasks.units[i].held.dense);
    const int number = static_cast<int>(tasks.ready.size());
    tasks.ready.push_back({.elements = elements, .layer = number, .unit = number});
    step.tasks.back().gradient_bytes = static_cast<int64_t>(double(elements) * l.gradient_size);
    tasks.done.push_back(step.tasks.size() - 1);
  }
  return tasks;
}

}  // namespace

LoweredStep lower_summary(const Lowering& l) {
  check_summary(l);
  LoweredStep step;
  step.micro_batch = l.micro_batch;
  step.samples_per_step = l.layout().dp * l.micro_batch * l.layout().accumulation;
  step.input_bytes = l.data.inputs.stored_bytes * double(l.micro_batch);
  step.decoded_bytes = l.data.inputs.decoded_bytes * double(l.micro_batch);
  step.forward_flops = l.data.forward_flops * double(l.micro_batch);
  step.training_flops = step.executed_flops = 3 * step.forward_flops;
  step.activation_bytes = l.data.summary.activation_bytes * double(l.micro_batch);
  const SummaryTasks tasks = add_tasks(l, step);
  const Held held{.dense = double(l.data.parameters)};
  add_buckets(l, tasks.ready, tasks.done, step);
  add_optimizer(l, held, step);
  add_sharding(l, held, l.layout().zero_stage == 3 ? tasks.units : std::vector<WeightUnit>{}, step);
  add_global_scalars(l, step);
  step.memory_bytes = state_bytes(l, held, held, tasks.units.front().held.dense) + step.activation_bytes;
  return step;
}

}  // namespace farscale
