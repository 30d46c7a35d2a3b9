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
  ExitCode code = ExitCode::kOk;
  std::string message;
  try {
    work();
  } catch (const Error& error) {
    code = error.code();
    message = error.what();
  } catch (const std::exception& error) {
    code = ExitCode::kFailedCase;
    message = fmt::format("unexpected: {}", error.what());
  }
  const std::string agreed = reason(code == ExitCode::kOk ? "" : message.empty() ? "failed" : message);
  if (agreed.empty()) return;
  const auto worst = static_cast<int>(slowest(static_cast<double>(code)));
  throw AgreedError(static_cast<ExitCode>(worst), agreed);
}

}  // namespace farscale
