// What `workload show` looks up and prints: shared by its command, its text and its JSON.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cluster/quantity.h"
#include "workloads/show.h"

namespace farscale {

struct ShowArguments {
  std::string workload;
  std::string layout = "dp=8";
  std::string fusion = "fused";
  std::string bucket_rule = "pytorch";
  std::string hardware;
  int64_t batch = 0;
  double bucket_mib = 0;
  int rows = 20;
  bool timing = false;
  bool as_json = false;
};

// Everything that is printed, as text or as JSON.
struct Shown {
  Workload workload;
  LoweringOptions options;
  LoweredStep step;
  std::vector<GemmRow> gemms;
  std::vector<ClassTotal> classes;
  std::vector<CollectiveTotal> collectives;
  // On the hardware asked for, without communication; empty without.
  Estimate compute_s;                           // one micro-batch and the optimizer
  std::map<KernelClass, Estimate> time_shares;  // of it
  std::vector<EvidenceLine> evidence;           // what both rest on
};

// Whether one GPU's share fits a kind of GPU.
struct MemoryFit {
  std::string hardware;
  double capacity_bytes = 0;
  bool fits = false;
};

std::vector<MemoryFit> memory_fit(const Shown& shown, const std::string& hardware);

void print_json(const Shown& shown, const ShowArguments& arguments);
void print_text(const Shown& shown, const ShowArguments& arguments);

}  // namespace farscale
