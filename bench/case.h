// A case: a problem with its settings and stopping rule, as a printable value. A suite expands to the list of its
// cases, the same on every rank.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/suite.h"
#include "kernels/backend.h"
#include "kernels/problem.h"
#include "workloads/workload.h"

namespace farscale {

enum class StartKind { kWorld, kBackend, kCommunicator, kFirstAllReduce };

struct Case {
  std::string name;    // unique within a run
  std::string family;  // "gemm", "memory", "collective", "step", "start"
  std::map<std::string, std::string> settings;
  Sampling sampling;
  std::optional<Problem> problem;  // gemm, memory, collective
  InputData data = InputData::kNormal;
  bool cold = true;
  std::optional<StepEntry> step;
  std::optional<StartKind> start;
  int64_t start_bytes = 0;  // of a first all-reduce
  bool graph = false;       // collectives, as OperationSettings
  bool registered = false;
  int most_ctas = 0;
  std::string on = {};  // the backend it is for; "": any
};

inline const std::vector<std::string> kFamilies = {"start", "gemm", "memory", "collective", "step"};

struct ExpandOptions {
  int ranks = 1;
  std::vector<std::string> only;  // families; empty: all
  double budget_s = 0;            // replaces every case's budget when above 0
  int64_t exact_samples = 0;      // replaces least and most samples when above 0
};

// All cases in order, duplicates dropped. `workload` is asked for only when a case needs it; entries that name a
// workload of their own read it.
std::vector<Case> expand_suite(const Suite& suite, const Workload* workload, const ExpandOptions& options);

// Those that are not for another backend.
std::vector<Case> cases_on(std::vector<Case> cases, const std::string& backend);

// True when some chosen entry of the suite needs the workload.
bool needs_workload(const Suite& suite, const std::vector<std::string>& only);

// `problem` with its FLOPs divided by `scale` >= 1: its largest dimensions are cut down to a common level, so a tall
// GEMM becomes less tall and a cube a smaller cube. What is left when every dimension is at 8 comes off the batch.
GemmProblem scaled(GemmProblem problem, double scale);

}  // namespace farscale
