// From a request on the command line to cases, backend and result file: everything before the first measurement. All
// functions are collective and agree on errors.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/agreement.h"
#include "bench/case.h"
#include "bench/google_flags.h"
#include "kernels/backend.h"
#include "results/record.h"
#include "workloads/workload.h"

namespace farscale {

// What a user asked for.
struct RunRequest {
  std::string suite = "quick";
  std::string backend = "auto";
  std::string workload;                 // "": the suite's
  std::vector<std::string> only;        // families; empty: all
  std::string out;                      // "": default_result_name()
  std::string scale;                    // of steps: "auto" or a number; "": the suite's
  std::string layout;                   // of steps; "": the suite's
  bool input = false;                   // of steps: copy inputs beside them
  std::optional<double> budget_s = {};  // of each case; none: the suite's
  bool json = false;
  bool list = false;
  std::vector<std::string> extra;  // what the command line did not know: Google Benchmark's flags
  std::vector<std::string> own_flags;
};

struct RunPlan {
  Suite suite;
  GoogleFlags flags;
  std::optional<Workload> workload;
  std::vector<Case> cases;
};

// Reads suite and workload (rank 0's text of the suite, on every rank), expands and filters. Throws AgreedError, also
// when a rank was asked for something else than rank 0.
RunPlan plan_run(const RunRequest& request, const Agreement& agreement);

struct ChosenBackend {
  std::string name;
  std::string why;  // for auto: why not the GPU; otherwise empty
  std::unique_ptr<Backend> backend;
  double start_s = 0;
};

// The same backend on every rank. Throws AgreedError with exit code 3 when it does not open everywhere.
ChosenBackend choose_backend(const std::string& wanted, World& world);

// The run before its first record: device, hosts, environment, warnings.
Run describe_run(const RunRequest& request, const RunPlan& plan, const ChosenBackend& chosen, const World& world);

// "farscale-host-quick-node7-20240501T123456Z.json"
std::string default_result_name(const std::string& backend, const std::string& suite, const std::string& host);

// Throws InputError when Google Benchmark's own output file exists, EnvironmentError when it cannot be written: the
// library would replace the one and exit on the other.
void check_google_out(const GoogleFlags& flags);

}  // namespace farscale
