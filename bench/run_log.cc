// Keeping and saving the run.
#include "bench/run_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "bench/environment.h"
#include "kernels/error.h"

namespace farscale {
namespace {

// Each GEMM's rate over the best of its type in this run.
void add_shares(Run& run) {
  std::map<NumberType, double> best;
  const auto each = [&](const auto& visit) {
    for (Record& record : run.records) {
      const auto rate = record.counters.find("flops_per_s");
      const auto* gemm = record.problem ? std::get_if<GemmProblem>(&*record.problem) : nullptr;
      if (gemm != nullptr && rate != record.counters.end()) visit(record, gemm->type, rate->second);
    }
  };
  each([&](Record&, NumberType type, double rate) { best[type] = std::max(best[type], rate); });
  each(
      [&](Record& record, NumberType type, double rate) { record.counters["share_of_best_seen"] = rate / best[type]; });
}

}  // namespace

RunLog::RunLog(Run head, const std::string& path) : run_(std::move(head)), path_(path) {
  if (!path.empty()) writer_.emplace(path);
}

void RunLog::write() {
  if (writer_) writer_->write(run_);
}

void RunLog::add(Record record) {
  const std::lock_guard lock(mutex_);
  run_.records.push_back(std::move(record));
  write();
}

void RunLog::warn(std::string warning) {
  const std::lock_guard lock(mutex_);
  run_.warnings.push_back(std::move(warning));
}

void RunLog::finish() {
  const std::lock_guard lock(mutex_);
  add_shares(run_);
  run_.environment["load_average_end"] = load_average();
  run_.complete = true;
  write();
}

std::string RunLog::cut_short(const std::string& why) {
  const std::unique_lock lock(mutex_, std::chrono::seconds(2));
  const size_t done = run_.records.size();
  std::string where = fmt::format("{} of {} cases were finished", done, planned_);
  if (path_.empty()) return where;
  where = fmt::format("{} of {} cases are in {}", done, planned_, path_);
  if (!lock.owns_lock() || done == 0) {
    return done == 0 ? fmt::format("no case was finished, nothing is in {}", path_) : where;
  }
  try {
    run_.warnings.push_back(why);
    write();
  } catch (const std::exception& error) {
    where += fmt::format(" (the last save failed: {})", error.what());
  }
  return where;
}

}  // namespace farscale
