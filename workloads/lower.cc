// Lowering: the layers of one GPU in execution order, their backward in reverse, buckets, optimizer.
#include <fmt/format.h>

#include <algorithm>

#include "workloads/lowering.h"
#include "workloads/parallel.h"

namespace farscale {
namespace {

// Bytes an optimizer step moves per parameter, fp32 state: momentum SGD reads p, m, g and the gradient's zeroing,
// writes p, m; Adam adds a second moment and the 16-bit copy of the weights.
double optimizer_bytes_per_parameter(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return 16;
    case OptimizerKind::kMomentum:
      return 24;
    case OptimizerKind::kAdam:
      return 30;
    case OptimizerKind::kLamb:
      return 46;  // Adam and a second pass over the update for its norm
  }
  return 30;
}

class Lowerer {
 public:
  Lowerer(const Workload& workload, const LoweringOptions& options) : lowering_(start_lowering(workload, options)) {}

  LoweredStep run() {
    if (lowering_.data.summary.used) return lower_summary(lowering_);
    check_layout(lowering_);
    const StagePlan stages = plan_stages(lowering_);
    layers_ = stages.stages[stages.slowest()];
    lowering_.holders = holders_of(lowering_.graph(), layers_);
    std::stable_partition(layers_.begin(), layers_.end(), [&](int i) { return layer(i).no_grad; });
    step_.micro_batch = lowering_.micro_batch;
    step_.samples_per_step = lowering_.layout().dp * lowering_.micro_batch * lowering_.layout().accumulation;
    step_.input_bytes = lowering_.data.inputs.stored_bytes * double(lowering_.micro_batch);
    step_.decoded_bytes = lowering_.data.inputs.decoded_bytes * double(lowering_.micro_batch);
    index_.forward.resize(lowering_.graph().layers.size(), 0);
    index_.backward = index_.forward;
    index_.recompute.resize(index_.forward.size(), TaskIndex::kNever);
    forward();
    backward();
    gradients();
    add_optimizer(lowering_, held_parameters(lowering_, layers_, true), step_);
    warn_of_idle_ranks();
    add_collectives(lowering_, layers_, stages, index_, step_);
    add_memory(lowering_, stages, step_);
    return std::move(step_);
  }

 private:
  const Layer& layer(int index) const { return lowering_.graph().layers[static_cast<size_t>(index)]; }

  void forward() {
    for (int i : layers_) {
      index_.forward[static_cast<size_t>(i)] = step_.tasks.size();
      emit_forward(lowering_, layer(i), Pass::kForward, step_.tasks);
    }
    for (const StepTask& task : step_.tasks) step_.forward_flops += task.flops;
    step_.training_flops = step_.executed_flops = step_.forward_flops;
  }

  void backward() {
    const size_t first = step_.tasks.size();
    for (size_t at = layers_.size(); at-- > 0;) {
      const Layer& current = layer(layers_[at]);
      const bool block_starts = at + 1 == layers_.size() || layer(layers_[at + 1]).block != current.block;
      if (block_starts && !current.no_grad && lowering_.checkpoints(current)) recompute(at);
      index_.backward[static_cast<size_t>(layers_[at])] = step_.tasks.size();
      emit_backward(lowering_, current, step_.tasks);
    }
    for (size_t i = first; i < step_.tasks.size(); ++i) {
      const StepTask& task = step_.tasks[i];
      step_.executed_flops += task.flops;
      if (task.pass != Pass::kRecompute) step_.training_flops += task.flops;
    }
  }

  // The forward of a checkpointed block once more, before its backward.
  void recompute(size_t last) {
    size_t begin = last;
    while (begin > 0 && layer(layers_[begin - 1]).block == layer(layers_[last]).block) --begin;
    for (size_t i = begin; i <= last; ++i) {
      index_.recompute[static_cast<size_t>(layers_[i])] = step_.tasks.size();
      emit_forward(lowering_, layer(layers_[i]), Pass::kRecompute, step_.tasks);
    }
  }

  void gradients() {
    const std::vector<ReadyGradient> ready = ready_order(lowering_, layers_);
    std::vector<size_t> done(lowering_.graph().layers.size(), 0);  // task that completes a layer's gradients
    size_t task = 0;
    for (size_t i = 0; i < ready.size(); ++i) {
      if (i > 0 && ready[i].layer == ready[i - 1].layer) continue;
      while (step_.tasks[task].gradient_bytes == 0) ++task;
      done[static_cast<size_t>(ready[i].layer)] = task++;
    }
    add_buckets(lowering_, ready, done, step_);
  }

  // Tensor parallel ranks all do the layers that are not divided.
  void warn_of_idle_ranks() {
    if (lowering_.layout().tp == 1) return;
    double divided = 0, all = 0;
    for (int i : layers_) {
      const double flops = forward_flops(lowering_.graph(), layer(i));
      all += flops;
      divided += layer(i).split == Split::kNone ? 0 : flops;
    }
    if (divided > all / 2) return;
    step_.warnings.push_back(fmt::format("tensor parallelism divides only {:.0f} % of the FLOPs of {}",
                                         100 * divided / all, lowering_.data.name));
  }

  Lowering lowering_;
  std::vector<int> layers_;
  TaskIndex index_;
  LoweredStep step_;
};

}  // namespace

void add_optimizer(const Lowering& lowering, const Held& trained, LoweredStep& step) {
  const double parameters = lowering.layout().zero_stage > 0 ? trained.sharded(lowering.layout()) : trained.all();
  if (parameters <= 0) return;
  StepTask& task = step.tasks.emplace_back();
  task.pass = Pass::kOptimizer;
  task.kind = KernelClass::kOptimizer;
  task.layer = "optimizer";
  task.bytes = parameters * optimizer_bytes_per_parameter(lowering.data.optimizer);
}

Lowering start_lowering(const Workload& workload, const LoweringOptions& options) {
  const Workload::Data& data = workload.data();
  return {.data = data,
          .options = options,
          .micro_batch = options.layout.micro_batch > 0 ? options.layout.micro_batch : data.micro_batch,
          .flows = gradient_flows(data.graph),
          .activation_size = bytes_per_element(data.types.activations),
          .compute_size = bytes_per_element(data.types.compute),
          .gradient_size = bytes_per_element(data.types.gradients)};
}

LoweredStep lower(const Workload& workload, const LoweringOptions& options) { return Lowerer(workload, options).run(); }

}  // namespace farscale
