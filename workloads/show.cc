// Counting equal tasks together.
#include "workloads/show.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace farscale {

std::vector<GemmRow> gemm_table(const LoweredStep& step) {
  std::map<std::tuple<Pass, KernelClass, int64_t, int64_t, int64_t, int64_t, bool, bool>, GemmRow> rows;
  for (const StepTask& task : step.tasks) {
    const GemmProblem& g = task.gemm;
    if (g.m == 0) continue;
    GemmRow& row = rows[{task.pass, task.kind, g.batch, g.m, g.n, g.k, g.transpose_a, g.transpose_b}];
    row.pass = task.pass;
    row.kind = task.kind;
    row.gemm = g;
    row.count += task.count;
    row.flops += task.flops;
    row.bytes += task.bytes;
  }
  std::vector<GemmRow> table;
  for (auto& [key, row] : rows) table.push_back(row);
  std::stable_sort(table.begin(), table.end(), [](const GemmRow& a, const GemmRow& b) { return a.flops > b.flops; });
  return table;
}

std::vector<ClassTotal> class_totals(const LoweredStep& step) {
  std::array<ClassTotal, static_cast<size_t>(KernelClass::kOptimizer) + 1> totals;
  for (const StepTask& task : step.tasks) {
    ClassTotal& total = totals[static_cast<size_t>(task.kind)];
    total.launches += task.count;
    total.flops += task.flops;
    total.bytes += task.bytes;
  }
  std::vector<ClassTotal> present;
  for (size_t i = 0; i < totals.size(); ++i) {
    totals[i].kind = static_cast<KernelClass>(i);
    if (totals[i].launches > 0) present.push_back(totals[i]);
  }
  return present;
}

std::vector<CollectiveTotal> collective_totals(const LoweredStep& step, int64_t accumulation) {
  std::vector<CollectiveTotal> totals;
  for (const StepCollective& one : step.collectives) {
    auto same = std::find_if(totals.begin(), totals.end(), [&](const CollectiveTotal& total) {
      return total.kind == one.kind && total.group == one.group && total.reason == one.reason && total.pass == one.pass;
    });
    if (same == totals.end()) {
      same = totals.insert(totals.end(), {.kind = one.kind,
                                          .group = one.group,
                                          .reason = one.reason,
                                          .pass = one.pass,
                                          .blocking = one.blocking,
                                          .ranks = one.ranks,
                                          .times_per_step = one.pass == Pass::kOptimizer ? 1 : accumulation});
    }
    same->count += one.count;
    same->bytes += double(one.bytes) * double(one.count);
  }
  return totals;
}

}  // namespace farscale
