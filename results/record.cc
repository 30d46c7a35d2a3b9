// Status names, and the look-ups of a run.
#include "results/record.h"

#include <array>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

constexpr std::array kStatuses = {Status::kOk, Status::kSkipped, Status::kWrong, Status::kFailed};

}  // namespace

std::string_view name(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kSkipped:
      return "skipped";
    case Status::kWrong:
      return "wrong";
    case Status::kFailed:
      return "failed";
  }
  return "";
}

Status parse_status(std::string_view text) {
  std::vector<std::string> names;
  for (Status status : kStatuses) {
    if (name(status) == text) return status;
    names.emplace_back(name(status));
  }
  throw InputError(unknown_name("status", text, names));
}

const Record* Run::find(const std::string& record_name) const {
  for (const Record& record : records) {
    if (record.name == record_name) return &record;
  }
  return nullptr;
}

std::vector<const Record*> usable(const Run& run) {
  std::vector<const Record*> found;
  for (const Record& record : run.records) {
    const bool passed = record.status == Status::kOk && (!record.verdict.checked || record.verdict.correct);
    if (passed && !record.samples_s.empty()) found.push_back(&record);
  }
  return found;
}

}  // namespace farscale
