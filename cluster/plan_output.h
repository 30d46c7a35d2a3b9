// What a plan says: tables for people, one JSON document for programs.
#pragma once

#include <string>
#include <vector>

#include "cluster/plan_numbers.h"
#include "cluster/plan_questions.h"
#include "cluster/plan_run.h"

namespace farscale {

// One plan in full: fleet by month, totals, what held it up, what trains on it.
std::string plan_text(const PlanReport& report, bool with_evidence);
// The compact table of several plans, each figure with its range and the letter of its evidence, and the legend.
std::string summary_text(const std::vector<PlanReport>& reports);
// Each plan against the first: the difference of totals with its range over common random numbers.
std::string difference_text(const std::vector<PlanReport>& reports);
// {"plans":[{"name","timeline":[…],"by_day":{…},"totals":{…},"answers":{…},"evidence":[…]}],"differences":[…]},
// estimates as {"p05","p50","p95"}; differences to the first plan when there are several. `answers`, when not empty,
// has one entry a report.
std::string plans_json(const std::vector<PlanReport>& reports, const std::vector<PlanAnswers>& answers = {});

// Sentences on job size: what one job delivers, where more GPUs deliver less, how the fleet is split.
std::vector<std::string> verdicts(const SiteReport& site, const Plan& plan);

// Outcomes of the organisations of a plan, in the order of its sites.
struct OrganisationOutcomes {
  std::string name;
  Outcomes outcomes;
};
std::vector<OrganisationOutcomes> by_organisation(const PlanReport& report);

}  // namespace farscale
