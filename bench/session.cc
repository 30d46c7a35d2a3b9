// Cases in order, a record each.
#include "bench/session.h"

#include <algorithm>
#include <sstream>

#include "results/statistics.h"

namespace farscale {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

RunOutcome outcome_of(const Record& record) {
  RunOutcome outcome;
  if (record.status != Status::kOk || record.samples_s.empty()) {
    outcome.ok = false;
    outcome.reason = std::string(name(record.status)) + ": " + record.reason;
    return outcome;
  }
  outcome.time_s = median(record.samples_s);
  outcome.runs = record.runs_per_sample * static_cast<int64_t>(record.samples_s.size());
  outcome.counters = record.counters;
  return outcome;
}

// Everything that decides whether the ranks still agree happens here; an exception must not pass through the library.
class Session {
 public:
  Session(const std::vector<Case>& cases, Lab& lab, RunLog& log, const SessionOptions& options)
      : cases_(cases), lab_(lab), log_(log), options_(options), agreement_(lab.world), start_s_(lab.clock()) {}

  RunOutcome run_case(size_t index) {
    if (failure_) return {.ok = false, .reason = "not run: the run is ending", .time_s = 0, .runs = 1, .counters = {}};
    Case item = cases_.at(index);
    const double spent_s = lab_.clock() - start_s_;
    const double asked_s = item.sampling.budget_s;
    item.sampling.budget_s = agreement_.number(fair_budget(asked_s, options_.total_s, spent_s, cases_.size() - index));
    item.sampling.sustain_s *= item.sampling.budget_s / asked_s;
    RunOutcome outcome{.ok = false, .reason = "not run", .time_s = 0, .runs = 1, .counters = {}};
    try {
      Record record = measure(item, lab_);
      outcome = outcome_of(record);
      if (!agreement_.first()) log_.add(record);
      agreement_.on_first([&] { log_.add(std::move(record)); });
    } catch (...) {
      failure_ = std::current_exception();
      outcome.ok = false;
    }
    return outcome;
  }

  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const std::vector<Case>& cases_;
  Lab& lab_;
  RunLog& log_;
  const SessionOptions& options_;
  Agreement agreement_;
  double start_s_;
  std::exception_ptr failure_;
};

}  // namespace

double fair_budget(double budget_s, double total_s, double spent_s, size_t left) {
  if (total_s <= 0 || left == 0) return budget_s;
  constexpr double kLeast = 0.05;
  const double share = (total_s - spent_s) / double(left);
  // Most cases need less than their budget, so one may take three fair shares.
  return std::min(budget_s, std::max(kLeast, 3 * share));
}

std::vector<Case> filtered(std::vector<Case> cases, const GoogleFlags& flags, const Agreement& agreement) {
  if (flags.filter.empty()) return cases;
  std::vector<std::string> names;
  for (const Case& item : cases) names.push_back(item.name);
  std::string chosen;
  agreement.on_first([&] { chosen = joined(matching_names(names, flags)); });
  std::istringstream lines(agreement.world().broadcast(chosen));
  std::vector<Case> kept;
  for (std::string line; std::getline(lines, line);) {
    const auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& item) { return item.name == line; });
    if (found != cases.end()) kept.push_back(*found);
  }
  return kept;
}

void run_session(const std::vector<Case>& cases, Lab& lab, RunLog& log, const SessionOptions& options) {
  log.plan(cases.size());
  std::vector<std::string> names;
  for (const Case& item : cases) names.push_back(item.name);
  Session session(cases, lab, log, options);
  if (!names.empty()) {
    drive(names, options.flags, options.display, [&](size_t index) { return session.run_case(index); });
  }
  session.rethrow();
  const Agreement agreement(lab.world);
  if (!agreement.first()) log.finish();
  agreement.on_first([&] { log.finish(); });
}

}  // namespace farscale
