// Decisions made on one rank or reduced over all.
#include "bench/agreement.h"

#include <fmt/format.h>

#include <charconv>

namespace farscale {
namespace {

// Exact in both directions, whatever the locale.
double parse_double(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

struct Failure {
  ExitCode code = ExitCode::kOk;
  std::string message;  // not empty when code is not kOk
};

Failure failure_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::exception& error) {
    return {ExitCode::kFailedCase, fmt::format("unexpected: {}", error.what())};
  }
}

}  // namespace

double Agreement::slowest(double value) const { return world_.reduce({value}, Reduction::kMax).at(0); }
double Agreement::fastest(double value) const { return world_.reduce({value}, Reduction::kMin).at(0); }
bool Agreement::all(bool own) const { return fastest(own ? 1 : 0) > 0.5; }
bool Agreement::decide(bool on_rank0) const { return slowest(first() && on_rank0 ? 1 : 0) > 0.5; }

int64_t Agreement::count(int64_t on_rank0) const {
  return world_.size() == 1 ? on_rank0 : std::stoll(world_.broadcast(std::to_string(on_rank0)));
}

double Agreement::number(double on_rank0) const {
  return world_.size() == 1 ? on_rank0 : parse_double(world_.broadcast(fmt::format("{:.17g}", on_rank0)));
}

std::vector<double> Agreement::each(double own) const {
  std::vector<double> values;
  for (const std::string& text : world_.gather(fmt::format("{:.17g}", own))) values.push_back(parse_double(text));
  return values;
}

std::string Agreement::reason(const std::string& own) const {
  if (all(own.empty())) return "";
  const std::vector<std::string> reasons = world_.gather(own);
  bool same = true;
  for (const std::string& other : reasons) same = same && other == reasons.front();
  if (same) return own;
  for (size_t rank = 0; rank < reasons.size(); ++rank) {
    if (!reasons[rank].empty()) return fmt::format("rank {}: {}", rank, reasons[rank]);
  }
  return "";
}

void Agreement::together(const std::function<void()>& work) const {
  const Failure failure = failure_of(work);
  const std::string agreed = reason(failure.message);
  if (agreed.empty()) return;
  const auto worst = static_cast<int>(slowest(static_cast<double>(failure.code)));
  throw AgreedError(static_cast<ExitCode>(worst), agreed);
}

void Agreement::on_first(const std::function<void()>& work) const {
  const Failure failure = first() ? failure_of(work) : Failure{};
  const auto code = static_cast<ExitCode>(count(static_cast<int64_t>(failure.code)));
  if (code != ExitCode::kOk) throw AgreedError(code, world_.broadcast(failure.message));
}

}  // namespace farscale
