// A suite: which cases to measure and when to stop each, read from strict TOML. bench/suites/README.md lists every key.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/problem.h"

namespace farscale {

// When to stop sampling one case.
struct Sampling {
  double interval = 0.01;     // enough once the median's 95 % interval is within +- this share of the median
  double budget_s = 1;        // or once this much time went into samples
  int64_t least_samples = 6;  // taken in any case; below 6 the median has no distribution-free 95 % interval
  int64_t most_samples = 500;
  double sample_s = 0.002;  // shorter runs are repeated inside one sample until it lasts about this long
  // Where clock and power can be read, products and passes are measured twice: after a pause of cool_s (burst), and
  // once clock and power are steady (sustained), in sustain_s at most. 0: burst alone.
  double cool_s = 0.1;
  double sustain_s = 1;
};

struct GemmEntry {
  std::vector<NumberType> types;
  std::vector<std::array<int64_t, 4>> shapes;  // m, n, k, batch
  std::vector<std::string> layouts;            // empty: nn, and of workload_shapes the workload's own
  int64_t workload_shapes =
      0;                 // instead of shapes: this many GEMMs of the workload's step, largest share of FLOPs first
  double scale = 1;      // …each with its FLOPs divided by this
  std::string workload;  // whose shapes; "": the suite's
  std::vector<Epilogue> epilogues = {Epilogue::kNone};
  Scaling scaling = Scaling::kNone;  // none: fp8 by tensor, fp4 by block
  bool fast_accumulation = false;    // of fp8 types
  std::string on;                    // "cuda", "host": only there; "": everywhere
  InputData data = InputData::kNormal;
  bool cold = true;
  Sampling sampling;
};

struct MemoryEntry {
  std::vector<MemoryKind> kinds;
  std::vector<int64_t> bytes;  // moved by one pass, as MemoryProblem::bytes()
  NumberType type = NumberType::kFp32;
  NumberType to = NumberType::kFp32;  // of pack, unpack and convert
  bool cold = true;
  std::string on;
  Sampling sampling;
};

struct CollectiveEntry {
  std::vector<CollectiveKind> kinds;
  std::vector<int64_t> bytes;
  std::vector<NumberType> types = {NumberType::kFp32};
  std::vector<bool> in_place = {false};
  bool graph = false;                    // launched from a CUDA graph
  bool registered = false;               // buffers the library knows beforehand
  std::vector<int64_t> most_ctas = {0};  // SMs the library may take; 0: its own choice
  Sampling sampling;
};

struct StepEntry {
  double scale = 0;         // 0: chosen on the host so that a step takes 0.1 to 0.5 s; 1 on a GPU
  std::string type;         // "": the workload's own types, or fp32 where the backend lacks them
  int64_t micro_batch = 0;  // 0: the workload's default
  bool fused = true;
  std::string bucket_rule = "pytorch";
  std::string layout;  // "zero=1 sync_bn=1 ckpt=1 mb=2": what check_step_layout() lets through; dp is the ranks
  bool input = false;  // copy the next step's input to the device beside every step
  bool graph = true;   // also as one graph, where the backend has graphs
  double peak_flops_per_s = 0;  // of one device, for MFU and HFU; 0: the best GEMM of the run, or one timed for it
  double verify_s = 3;          // time for checking the step's kernels one by one, largest first
  Sampling sampling;
};

struct StartEntry {
  int64_t repeats = 5;                     // communicators created, and first calls timed
  std::vector<int64_t> bytes = {1 << 20};  // of the first all-reduces
};

struct Suite {
  std::string name;  // "quick", or the file's name
  std::string description;
  std::string workload = "hydranet-regnety16gf";
  double total_s = 0;  // budgets shrink so that the whole run fits; 0: no limit
  std::vector<GemmEntry> gemm;
  std::vector<MemoryEntry> memory;
  std::vector<CollectiveEntry> collective;
  std::vector<StepEntry> step;
  std::vector<StartEntry> start;
};

// From TOML text; `name` stands for the file in messages. Throws InputError.
Suite parse_suite(std::string_view text, const std::string& name);

// The text of a shipped suite ("quick", "node", "full") or of a file. Throws InputError with the nearest name.
std::string suite_text(const std::string& name_or_path);
std::vector<std::string> shipped_suites();

// Throws InputError unless a step of these ranks can be run so: data parallel with any of zero, sync_bn, ckpt and mb.
void check_step_layout(const std::string& layout);

InputData parse_input_data(std::string_view text);  // "normal", "zeros", "constant"; throws InputError
std::string_view name(InputData data);

}  // namespace farscale
