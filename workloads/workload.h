// A workload: a network as a graph of layers, read from strict TOML, and its lowering to one training step: the GEMMs,
// memory passes, collectives and gradient buckets that one GPU runs. bench executes a lowered step, cluster predicts
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace farscale {

enum class Pass : uint8_t { kForward, kRecompute, kDataGradient, kWeightGradient, kOptimizer };

// What class of kernel a task is; efficiencies are learned per class.
enum class KernelClass : uint8_t {
  kConvolution,
  kGroupedConvolution,
  kLinear,
  kAttention,
  kDepthwise,
  kNorm,
  kElementwise,
  kGather,
  kOptimizer
};

std::string_view name(Pass pass);
std::string_view name(KernelClass kind);

// One kernel (or `count` equal ones in a row) of the step of one micro-batch on one GPU. Tensor-core work has
// gemm.m > 0; every task moves bytes (for GEMMs: operands and result once).
struct StepTask {
  Pass pass = Pass::kForward;
  KernelClass kind = KernelClass::kElementwise;
  std::string layer;           // "backbone.s3.b2.b"
  int64_t count = 1;           // launches
  GemmProblem gemm;            // of one launch; m == 0 when this is a memory pass
  double flops = 0;            // of all launches; causal attention counts half
  double bytes = 0;            // of all launches
  int64_t gradient_bytes = 0;  // gradients ready once this task is done (weight gradients)
  // What a library runs instead as one implicit GEMM: the same FLOPs as the GEMMs of this layer and pass together. Of a
  // strided data gradient, whose phases are several tasks, only the first has it and `convolution_tasks` counts them.
  std::optional<ConvolutionProblem> convolution = {};
  int convolution_tasks = 1;
};

// One all-reduce (or reduce-scatter, with ZeRO) of gradients: may start when task `ready_after` is done.
struct Bucket {
  int64_t bytes = 0;
  size_t ready_after = 0;  // index into LoweredStep::tasks
  CollectiveKind kind = CollectiveKind::kAllReduce;
  int64_t ranks = 1;  // that hold the same parameters: dp x cp, of experts only those of dp x cp / ep
};

// A collective that blocks or overlaps elsewhere in the step: SyncBN statistics, TP/CP/EP traffic, FSDP all-gathers.
struct StepCollective {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  // "dp" (dp x cp ranks), "tp", "cp", "ep", "pp"; with HSDP "shard" (within) and "replica" (across); "copies": the
  // dp x cp / ep ranks that hold the same experts.
  std::string group;
  int64_t bytes = 0;  // S of one, as CollectiveProblem::bytes
  int64_t count = 1;
  bool blocking = true;  // compute waits for it
  // kRecompute: a forward collective repeated by a checkpointed block. kOptimizer: once a step, not once a micro-batch.
  Pass pass = Pass::kForward;
  std::string reason;  // "synchronised batch norm", "loss normaliser", …
  size_t before = 0;   // first task that needs its result (index into LoweredStep::tasks)
  int64_t ranks = 1;   // of its group
};

// How one job is spread over GPUs: dp x tp x pp x cp of them; ep ranks are among those of dp.
struct Layout {
  int64_t dp = 1, tp = 1, pp = 1, cp = 1, ep = 1;
  int zero_stage = 0;        // 0: DDP all-reduce; 1, 2, 3: ZeRO / FSDP sharding over dp (or over hsdp_shard)
  int64_t hsdp_shard = 0;    // 0: shard over all of dp; otherwise shard in groups of this many, all-reduce across
  int64_t micro_batch = 0;   // samples per GPU per pass; 0: the workload's default
  int64_t accumulation = 1;  // micro-batches per step
  int64_t interleave = 1;    // virtual pipeline stages
  bool sync_batch_norm = false;
  // Activations recomputed in the backward pass: of the blocks the workload's file says, of none, or of all.
  enum class Checkpoint : uint8_t { kFile, kNone, kAll } checkpoint = Checkpoint::kFile;
  std::string str() const;  // "dp=512 tp=1 pp=1 mb=1"
};

// "dp=8 tp=2 zero=3 mb=1": unknown keys and values below 1 throw InputError. `gpus` fills a missing dp.
Layout parse_layout(const std::string& text, int64_t gpus);

struct LoweringOptions {
  Layout layout;
  bool fused = true;                    // memory passes: fused or eager
  std::string bucket_rule = "pytorch";  // "pytorch", "megatron", "deepspeed", "single"
  double bucket_bytes = 0;              // 0: the rule's default (PyTorch 25 MiB, first 1 MiB)
  std::vector<double> block_costs{};    // block_costs() on the machine at hand; empty: on a typical GPU
};

struct LoweredStep {
  std::vector<StepTask> tasks;              // one micro-batch of one GPU in execution order, then the optimizer
  std::vector<Bucket> buckets;              // gradient traffic over dp, in ready order
  std::vector<StepCollective> collectives;  // everything else that communicates, per micro-batch
  double forward_flops = 0;                 // per micro-batch of one GPU, recomputation not counted
  double training_flops = 0;                // forward + backward of the model (MFU numerator), per micro-batch
  double executed_flops = 0;                // with recomputation (HFU numerator)
  double memory_bytes = 0;                  // peak on one GPU: weights, gradients, optimizer state, activations
  double activation_bytes = 0;
  double input_bytes = 0;             // read from storage per micro-batch
  double decoded_bytes = 0;           // copied to the device per micro-batch
  int64_t micro_batch = 1;            // samples in `tasks`
  int64_t samples_per_step = 1;       // whole job: dp * micro_batch * accumulation
  std::vector<std::string> warnings;  // "one bucket: nothing can overlap", …
};

// A network read from a file, checked against its `expect` block.
class Workload {
 public:
  struct Data;  // the graph: workloads/graph.h
  explicit Workload(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  const Data& data() const { return *data_; }

  const std::string& name() const;
  const std::string& provenance() const;  // "exact", "published", "proxy"
  std::vector<std::string> sources() const;
  int64_t parameters() const;
  int64_t trainable_parameters() const;
  double gradient_bytes() const;
  double forward_flops_per_sample() const;
  double training_flops_per_sample() const;
  double frames_per_sample() const;  // camera images (vision), or tokens for language models: sample_unit()
  std::string sample_unit() const;   // "clip", "image", "sequence"
  int64_t default_micro_batch() const;

 private:
  std::shared_ptr<const Data> data_;
};

// A shipped name ("hydranet-regnety16gf") or the path of a TOML file. Throws InputError.
Workload load_workload(const std::string& name_or_path);
std::vector<std::string> shipped_workloads();

// Throws InputError when the layout does not fit the network (heads not divisible by tp, …).
LoweredStep lower(const Workload& workload, const LoweringOptions& options);

// What the blocks that pipeline stages are made of cost one micro-batch of one GPU, forward and backward, by the time
// that `cost` says a task takes: stages are balanced by it, and the slowest is the one that is lowered. It does not
// depend on dp, pp, zero and buckets. Empty for a network known by its totals, which has no blocks.
std::vector<double> block_costs(const Workload& workload, const LoweringOptions& options,
                                const std::function<double(const StepTask&)>& cost);

}  // namespace farscale
