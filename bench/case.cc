// From suites to cases.
#include "bench/case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace farscale {
namespace {

std::string trimmed(double value) { return fmt::format("{:g}", value); }

Sampling chosen(Sampling sampling, const ExpandOptions& options) {
  if (options.budget_s > 0) sampling.budget_s = options.budget_s;
  if (options.exact_samples > 0) sampling.least_samples = sampling.most_samples = options.exact_samples;
  return sampling;
}

Case gemm_case(const GemmEntry& entry, const GemmProblem& problem, const ExpandOptions& options) {
  std::string name = problem.name();
  if (!entry.cold) name += "/hot";
  if (entry.data != InputData::kNormal) name += fmt::format("/{}", farscale::name(entry.data));
  return {.name = std::move(name),
          .family = "gemm",
          .settings = {{"data", std::string(farscale::name(entry.data))}, {"cache", entry.cold ? "cold" : "hot"}},
          .sampling = chosen(entry.sampling, options),
          .problem = problem,
          .data = entry.data,
          .cold = entry.cold,
          .step = {},
          .start = {},
          .on = entry.on};
}

// What the entry says of scaling holds for the types that have it; where it says nothing, fp8 is scaled by tensor and
// fp4 by block, as they are used.
GemmProblem typed(GemmProblem problem, const GemmEntry& entry, NumberType type) {
  const bool fp8 = type == NumberType::kFp8E4M3 || type == NumberType::kFp8E5M2;
  problem.type = type;
  if (fp8) problem.scaling = entry.scaling == Scaling::kNone ? Scaling::kTensor : entry.scaling;
  if (type == NumberType::kFp4) problem.scaling = Scaling::kBlock;
  problem.fast_accumulation = fp8 && entry.fast_accumulation;
  return problem;
}

// Forward, data and weight gradient of a layer are one shape with its dimensions in turn.
GemmProblem ordered(GemmProblem gemm) {
  const std::array<int64_t*, 3> dims = {&gemm.m, &gemm.n, &gemm.k};
  std::array<int64_t, 3> values = {gemm.m, gemm.n, gemm.k};
  std::sort(values.begin(), values.end());
  for (size_t i = 0; i < 3; ++i) *dims[i] = values[i];
  gemm.transpose_a = gemm.transpose_b = false;
  return gemm;
}

// The distinct shapes of one step, largest share of the step's FLOPs first; of each the GEMM that comes first.
std::vector<GemmProblem> largest_gemms(const Workload& workload, int64_t count) {
  const LoweredStep step = lower(workload, {});
  std::vector<std::pair<double, GemmProblem>> found;
  for (const StepTask& task : step.tasks) {
    if (task.gemm.m == 0) continue;
    const GemmProblem shape = ordered(task.gemm);
    auto same = std::find_if(found.begin(), found.end(), [&](const auto& f) { return ordered(f.second) == shape; });
    if (same == found.end()) same = found.insert(found.end(), {0, task.gemm});
    same->first += task.flops;
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<GemmProblem> gemms;
  for (const auto& [flops, gemm] : found) {
    if (static_cast<int64_t>(gemms.size()) < count) gemms.push_back(gemm);
  }
  return gemms;
}

// A shape in every layout and with every epilogue of the entry; without layouts as it is.
void add_variants(const GemmEntry& entry, const GemmProblem& shape, const ExpandOptions& options,
                  std::vector<Case>& out) {
  for (const Epilogue epilogue : entry.epilogues) {
    GemmProblem problem = shape;
    problem.epilogue = epilogue;
    if (entry.layouts.empty()) out.push_back(gemm_case(entry, problem, options));
    for (const std::string& layout : entry.layouts) {
      problem.transpose_a = layout[0] == 't';
      problem.transpose_b = layout[1] == 't';
      out.push_back(gemm_case(entry, problem, options));
    }
  }
}

void add_gemms(const GemmEntry& entry, const Workload* suites, const ExpandOptions& options, std::vector<Case>& out) {
  std::optional<Workload> own;
  if (!entry.workload.empty()) own = load_workload(entry.workload);
  const Workload* workload = own ? &*own : suites;
  const std::vector<GemmProblem> largest =
      workload == nullptr ? std::vector<GemmProblem>{} : largest_gemms(*workload, entry.workload_shapes);
  for (NumberType type : entry.types) {
    for (const auto& [m, n, k, batch] : entry.shapes) {
      add_variants(entry, typed({.m = m, .n = n, .k = k, .batch = batch}, entry, type), options, out);
    }
    for (const GemmProblem& shape : largest) {
      const size_t first = out.size();
      add_variants(entry, typed(scaled(shape, entry.scale), entry, type), options, out);
      for (size_t i = first; i < out.size(); ++i) {
        out[i].settings["workload"] = workload->name();
        out[i].settings["scale"] = trimmed(entry.scale);
      }
    }
  }
}

void add_memory(const MemoryEntry& entry, const ExpandOptions& options, std::vector<Case>& out) {
  for (MemoryKind kind : entry.kinds) {
    for (int64_t bytes : entry.bytes) {
      MemoryProblem problem{.kind = kind, .elements = 1, .type = entry.type, .to = entry.to};
      problem.elements = std::max<int64_t>(1, std::llround(double(bytes) / problem.bytes()));
      const bool rows = kind == MemoryKind::kBiasGelu || kind == MemoryKind::kLayerNorm;
      if (rows) problem.elements = (problem.elements + kMemoryRow - 1) / kMemoryRow * kMemoryRow;
      out.push_back({.name = problem.name() + (entry.cold ? "" : "/hot"),
                     .family = "memory",
                     .settings = {{"cache", entry.cold ? "cold" : "hot"}},
                     .sampling = chosen(entry.sampling, options),
                     .problem = problem,
                     .data = InputData::kNormal,
                     .cold = entry.cold,
                     .step = {},
                     .start = {},
                     .on = entry.on});
    }
  }
}

Case collective_case(const CollectiveEntry& entry, const CollectiveProblem& problem, int most_ctas,
                     const ExpandOptions& options) {
  std::map<std::string, std::string> settings = {{"placement", problem.in_place ? "in place" : "out of place"}};
  std::string name = problem.name();
  if (entry.graph) name += "/graph", settings["launch"] = "graph";
  if (entry.registered) name += "/registered", settings["buffers"] = "registered";
  if (most_ctas > 0) name += fmt::format("/ctas{}", most_ctas), settings["most_ctas"] = std::to_string(most_ctas);
  return {.name = std::move(name),
          .family = "collective",
          .settings = std::move(settings),
          .sampling = chosen(entry.sampling, options),
          .problem = problem,
          .cold = false,
          .graph = entry.graph,
          .registered = entry.registered,
          .most_ctas = most_ctas};
}

// Of one kind and type. Every size is rounded up to what divides into ranks x elements, so that one suite serves any
// number of ranks.
void add_collectives(const CollectiveEntry& entry, const CollectiveProblem& like, const ExpandOptions& options,
                     std::vector<Case>& out) {
  const int64_t grain = static_cast<int64_t>(bytes_per_element(like.type)) * options.ranks;
  for (int64_t bytes : entry.bytes) {
    for (bool in_place : entry.in_place) {
      for (int64_t most_ctas : entry.most_ctas) {
        CollectiveProblem problem = like;
        problem.bytes = (bytes + grain - 1) / grain * grain;
        problem.in_place = in_place;
        out.push_back(collective_case(entry, problem, static_cast<int>(most_ctas), options));
      }
    }
  }
}

void add_collectives(const CollectiveEntry& entry, const ExpandOptions& options, std::vector<Case>& out) {
  for (NumberType type : entry.types) {
    for (CollectiveKind kind : entry.kinds) {
      add_collectives(entry, {.kind = kind, .type = type, .ranks = options.ranks}, options, out);
    }
  }
}

// "zero=1 sync_bn=1" -> "zero=1_sync_bn=1"
std::string joined_words(std::string text) {
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

void add_steps(const StepEntry& entry, const Workload* workload, const ExpandOptions& options, std::vector<Case>& out) {
  if (workload == nullptr) return;
  const std::string scale = entry.scale > 0 ? trimmed(entry.scale) : "auto";
  std::string name = fmt::format("step/{}", workload->name());
  if (entry.micro_batch > 0) name += fmt::format("/mb{}", entry.micro_batch);
  if (!entry.type.empty()) name += "/" + entry.type;
  if (!entry.fused) name += "/eager";
  if (entry.bucket_rule != "pytorch") name += "/" + entry.bucket_rule;
  if (!entry.layout.empty()) name += fmt::format("/{}", joined_words(entry.layout));
  if (entry.input) name += "/input";
  name += fmt::format("/scale_{}/{}ranks", scale, options.ranks);
  out.push_back({.name = std::move(name),
                 .family = "step",
                 .settings = {{"workload", workload->name()}, {"scale", scale}},
                 .sampling = chosen(entry.sampling, options),
                 .problem = {},
                 .data = InputData::kNormal,
                 .cold = true,
                 .step = entry,
                 .start = {}});
}

void add_starts(const StartEntry& entry, const ExpandOptions& options, std::vector<Case>& out) {
  auto add = [&](const std::string& name, StartKind kind, int64_t samples, int64_t bytes) {
    Sampling sampling;
    sampling.least_samples = sampling.most_samples = samples;
    out.push_back({.name = fmt::format("start/{}/{}ranks", name, options.ranks),
                   .family = "start",
                   .sampling = sampling,
                   .start = kind,
                   .start_bytes = bytes});
  };
  add("world", StartKind::kWorld, 1, 0);
  add("backend", StartKind::kBackend, 1, 0);
  add("communicator", StartKind::kCommunicator, entry.repeats, 0);
  for (int64_t bytes : entry.bytes) {
    const int64_t grain = static_cast<int64_t>(sizeof(float));
    const int64_t whole = (bytes + grain - 1) / grain * grain;
    add(fmt::format("first_all_reduce/{}B", whole), StartKind::kFirstAllReduce, entry.repeats, whole);
  }
}

bool wanted(const std::vector<std::string>& only, const std::string& family) {
  return only.empty() || std::find(only.begin(), only.end(), family) != only.end();
}

}  // namespace

bool needs_workload(const Suite& suite, const std::vector<std::string>& only) {
  const bool shapes = std::any_of(suite.gemm.begin(), suite.gemm.end(),
                                  [](const auto& e) { return e.workload_shapes > 0 && e.workload.empty(); });
  return (wanted(only, "step") && !suite.step.empty()) || (wanted(only, "gemm") && shapes);
}

std::vector<Case> expand_suite(const Suite& suite, const Workload* workload, const ExpandOptions& options) {
  std::vector<Case> all;
  for (const StartEntry& entry : suite.start) add_starts(entry, options, all);
  for (const GemmEntry& entry : suite.gemm) {
    if (wanted(options.only, "gemm")) add_gemms(entry, workload, options, all);
  }
  for (const MemoryEntry& entry : suite.memory) add_memory(entry, options, all);
  for (const CollectiveEntry& entry : suite.collective) add_collectives(entry, options, all);
  for (const StepEntry& entry : suite.step) add_steps(entry, workload, options, all);
  std::vector<Case> cases;
  std::set<std::string> seen;
  for (Case& item : all) {
    if (wanted(options.only, item.family) && seen.insert(item.name).second) cases.push_back(std::move(item));
  }
  return cases;
}

std::vector<Case> cases_on(std::vector<Case> cases, const std::string& backend) {
  std::erase_if(cases, [&](const Case& item) { return !item.on.empty() && item.on != backend; });
  return cases;
}

GemmProblem scaled(GemmProblem problem, double scale) {
  constexpr double kLeast = 8;
  std::array<int64_t*, 3> dims = {&problem.m, &problem.n, &problem.k};
  std::sort(dims.begin(), dims.end(), [](const int64_t* a, const int64_t* b) { return *a > *b; });
  const double a = double(*dims[0]), b = double(*dims[1]), c = double(*dims[2]);
  // The level L with (a/L or 1)(b/L or 1)(c/L or 1) = scale: one, two or all three dimensions are above it.
  double level = a / scale;
  if (level < b) level = std::sqrt(a * b / scale);
  if (level < c) level = std::cbrt(a * b * c / scale);
  level = std::max(level, kLeast);
  const double before = problem.flops();
  for (int64_t* dim : dims) *dim = std::max<int64_t>(1, std::llround(std::min(double(*dim), level)));
  const double left = scale * problem.flops() / before;
  if (left > 1.5) problem.batch = std::max<int64_t>(1, std::llround(double(problem.batch) / left));
  return problem;
}

}  // namespace farscale
