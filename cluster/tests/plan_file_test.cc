// Plan files: what is read, and what each mistake says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cluster/plan.h"
#include "kernels/error.h"
#include "results/result_file.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kPlan = R"(title = "A hall"
start = 2024-06-01
end = 2025-05-31
[training]
workload = "hydranet-regnety16gf"
jobs = "one"
spare_share = { value = 0.02, source = "assumption: some" }
[pipeline]
rack_per_day = { low = 300, value = 600, high = 1000, source = "assumption: hands" }
burn_in_days = { value = 7, source = "assumption: a week" }
first_pass_yield = { value = 0.89, source = "Imbue" }
repair_days = { value = 5, source = "assumption: parts" }
repair_share = { value = 0.5, source = "assumption: half" }
[[site]]
name = "hall"
hardware = "h100-sxm"
pue = { value = 1.2, source = "assumption: new" }
fabric_share = { value = 0.1, source = "assumption: tenth" }
[[site.power]]
from = { date = 2024-06-01, source = "assumption: at once" }
megawatts = { value = 100, source = "Elon Musk" }
[[site.hall]]
name = "south"
gpus = { value = 50000, source = "Elon Musk" }
ready = { date = 2024-09-01, early_days = 10, late_days = 60, source = "assumption: soon" }
[[delivery]]
name = "lot"
site = "hall"
gpus = { value = 50000, source = "Elon Musk" }
first = { date = 2024-07-01, source = "assumption: July" }
last = { date = 2024-10-31, source = "assumption: October" }
usd_per_gpu = { low = 25e3, value = 30e3, high = 40e3, source = "assumption: market" }
)";

std::string with(std::string_view old_text, std::string_view new_text) {
  std::string plan = kPlan;
  const size_t at = plan.find(old_text);
  EXPECT_NE(at, std::string::npos) << old_text;
  return plan.replace(at, old_text.size(), new_text);
}

std::string mistake(const std::string& plan) {
  try {
    parse_plan(plan, "plans/x.toml");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PlanFile, ReadsWhatItSays) {
  const Plan plan = parse_plan(kPlan, "plans/x.toml");
  EXPECT_EQ(plan.name, "x");
  EXPECT_EQ(plan.days(), 365);
  ASSERT_EQ(plan.sites.size(), 1U);
  EXPECT_EQ(plan.sites[0].organisation, "hall");
  EXPECT_EQ(plan.training.jobs, 1);
  EXPECT_EQ(plan.deliveries.at(0).gpus.evidence, Evidence::kPublished);
  EXPECT_EQ(plan.deliveries.at(0).first.days.evidence, Evidence::kAssumed);
  const Estimate& ready = plan.sites[0].halls.at(0).ready.days.value;
  EXPECT_EQ(ready.p50 - ready.p05, 10);
  EXPECT_EQ(ready.p95 - ready.p50, 60);
  EXPECT_EQ(iso_date(Day(std::chrono::days(int(ready.p50)))), "2024-09-01");
}

TEST(PlanFile, EveryFigureHasItsEvidence) {
  const Plan plan = parse_plan(kPlan, "plans/x.toml");
  EXPECT_GE(plan.evidence.size(), 20U);
  int published = 0;
  for (const EvidenceLine& line : plan.evidence) {
    EXPECT_FALSE(line.source.empty()) << line.what;
    published += line.evidence == Evidence::kPublished;
  }
  EXPECT_EQ(published, 6);  // Imbue, three by Elon Musk, and the default rates of failures and silent corruptions
}

TEST(PlanFile, UnknownKeyNamesLineAndNearest) {
  EXPECT_THAT(mistake(with("burn_in_days", "burnin_days")), AllOf(HasSubstr("x.toml"), HasSubstr("burn_in_days")));
}

TEST(PlanFile, MistakesAreToldWithTheirPlace) {
  EXPECT_THAT(mistake(with("name = \"hall\"", "name = \"hall\"\norganization = \"Tesla\"")),
              AllOf(HasSubstr("plans/x.toml:16"), HasSubstr("organisation")));
  EXPECT_THAT(mistake(with("gpus = { value = 50000, source = \"Elon Musk\" }\nfirst",
                           "gpus = { value = -5, source = \"Elon Musk\" }\nfirst")),
              AllOf(HasSubstr("plans/x.toml:29"), HasSubstr("-5")));
  EXPECT_THAT(mistake(with("gpus = { value = 50000, source = \"Elon Musk\" }\nfirst",
                           "gpus = { value = 50000.5, source = \"Elon Musk\" }\nfirst")),
              AllOf(HasSubstr("plans/x.toml:29"), HasSubstr("whole number")));
  EXPECT_THAT(mistake(with("end = 2025-05-31", "end = 2024-05-31")),
              AllOf(HasSubstr("plans/x.toml:3"), HasSubstr("2024-06-01")));
  EXPECT_THAT(mistake(with("last = { date = 2024-10-31", "last = { date = 2026-10-31")),
              AllOf(HasSubstr("plans/x.toml:31"), HasSubstr("2025-05-31")));
  EXPECT_THAT(mistake(with("last = { date = 2024-10-31", "last = { date = 2024-06-30")), HasSubstr("after the first"));
  EXPECT_THAT(mistake(with("pue = { value = 1.2, source = \"assumption: new\" }", "pue = { value = 1.2 }")),
              AllOf(HasSubstr("plans/x.toml:17"), HasSubstr("source")));
  EXPECT_THAT(mistake(with("pue = { value = 1.2, source = \"assumption: new\" }", "pue = 1.2")),
              HasSubstr("x.toml:17"));
  EXPECT_THAT(mistake(with("first = { date = 2024-07-01, source = \"assumption: July\" }", "first = 2024-07-01")),
              AllOf(HasSubstr("plans/x.toml:30"), HasSubstr("source")));
  EXPECT_THAT(mistake(with("first = { date = 2024-07-01", "first = { date = \"2024-07-01\"")), HasSubstr("x.toml:30"));
  EXPECT_THAT(mistake(with("\"h100-sxm\"", "\"h100-sxn\"")), AllOf(HasSubstr("x.toml:16"), HasSubstr("'h100-sxm'")));
  EXPECT_THAT(mistake(with("regnety16gf", "regnety16fg")), AllOf(HasSubstr("x.toml:5"), HasSubstr("regnety16gf'")));
  EXPECT_THAT(mistake(with("site = \"hall\"", "site = \"hal\"")), AllOf(HasSubstr("x.toml:28"), HasSubstr("'hall'")));
  EXPECT_THAT(mistake(with("jobs = \"one\"", "jobs = \"two\"")), HasSubstr("x.toml:6"));
  EXPECT_THAT(mistake(with("jobs = \"one\"", "jobs = 0")), HasSubstr("x.toml:6"));
  EXPECT_THAT(mistake(with("value = 0.89", "value = 1.89")), HasSubstr("x.toml:11"));
  EXPECT_THAT(mistake(with("low = 25e3, value = 30e3", "low = 35e3, value = 30e3")), HasSubstr("low <= value <= high"));
}

TEST(PlanFile, MissingParts) {
  const std::string plan = kPlan;
  EXPECT_THAT(mistake(plan.substr(0, plan.find("[[site]]"))), HasSubstr("[[site]]"));
  EXPECT_THAT(mistake(plan.substr(0, plan.find("[[delivery]]"))), HasSubstr("never gets a GPU"));
  EXPECT_THAT(mistake(plan.substr(0, 100)), HasSubstr("plans/x.toml"));  // truncated
  EXPECT_THAT(mistake(with("[pipeline]", "[pipelines]")), HasSubstr("pipeline"));
  EXPECT_THROW(load_plan("no/such/plan.toml"), InputError);
}

TEST(PlanFile, UnknownShippedPlanOffersTheNearest) {
  try {
    load_plan("xai-300k-b20");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'xai-300k-b200'"));
  }
}

TEST(PlanFile, ShippedPlansAreSound) {
  const std::vector<std::string> names = shipped_plans();
  for (const char* name : {"giga-texas-south-50k-h100", "tesla-2024-35k-to-85k-h100", "xai-100k-h100", "xai-300k-b200"})
    EXPECT_THAT(names, testing::Contains(name));
  for (const std::string& name : names) {
    const Plan plan = load_plan(name);
    EXPECT_FALSE(plan.title.empty()) << name;
    EXPECT_FALSE(plan.notes.empty()) << name << ": says who said what";
    EXPECT_GE(plan.evidence.size(), 10U) << name;
  }
}

// Everything the format can say beyond kPlan.
std::string full_plan() {
  std::string plan = with("ready = { date = 2024-09-01",
                          "cooling_mw = { value = 60, source = \"assumption: chillers\" }\n"
                          "ready = { date = 2024-09-01");
  return plan + R"(
[[site]]
name = "other"
organisation = "X"
hardware = "h100-sxm"
pue = { value = 1.3, source = "assumption: old" }
fabric_share = { value = 0.1, source = "assumption: tenth" }
network.pod_gpus = { value = 3072, source = "Llama 3" }
network.oversubscription = { value = 7, source = "Llama 3" }
pipeline.repairs_per_day = { value = 80, source = "assumption: ten technicians" }
[[site.power]]
from = { date = 2024-06-01, source = "assumption: at once" }
megawatts = { value = 20, source = "assumption: enough" }
[[site.hall]]
name = "old"
gpus = { value = 5000, source = "assumption: room" }
ready = { date = 2024-06-01, source = "assumption: there" }
[[transfer]]
name = "back"
from = "hall"
to = "other"
gpus = { value = 1000, source = "assumption: some" }
date = { date = 2025-01-15, late_days = 20, source = "assumption: winter" }
transit_days = { low = 2, value = 5, high = 10, source = "assumption: by road" }
[[job]]
name = "first"
site = "hall"
samples = { value = 1e9, source = "assumption: one training" }
[[job]]
name = "urgent"
site = "hall"
workload = "resnet50"
priority = 5
gpu_hours = { value = 1e5, source = "Tesla AI Day 2022" }
most_gpus = { value = 4096, source = "assumption: batch" }
[failures]
isolated = true
resync_s = { value = 20, source = "assumption: half a minute" }
silent_per_node_day = { value = 5.4e-5, source = "Llama 3" }
[state_power]
repair = { value = 0.1, source = "assumption: fans" }
[prices]
node_usd_per_gpu = { value = 12e3, source = "assumption: server" }
network_usd_per_gpu = { value = 5e3, source = "assumption: fabric" }
building_usd_per_mw = { value = 10e6, source = "assumption: shell and cooling" }
)";
}

std::string full_with(std::string_view old_text, std::string_view new_text) {
  std::string plan = full_plan();
  const size_t at = plan.find(old_text);
  EXPECT_NE(at, std::string::npos) << old_text;
  return plan.replace(at, old_text.size(), new_text);
}

TEST(PlanFile, ReadsWhatElseItCanSay) {
  const Plan plan = parse_plan(full_plan(), "plans/x.toml");
  EXPECT_EQ(plan.sites[0].halls[0].cooling_mw->value.p50, 60);
  EXPECT_EQ(plan.sites[1].network.oversubscription->value.p50, 7);
  EXPECT_EQ(plan.sites[1].pipeline.repairs_per_day.value.p50, 80);
  EXPECT_TRUE(std::isinf(plan.sites[0].pipeline.repairs_per_day.value.p50));
  ASSERT_EQ(plan.transfers.size(), 1U);
  EXPECT_EQ(plan.transfers[0].to, 1U);
  ASSERT_EQ(plan.jobs.size(), 2U);
  EXPECT_EQ(plan.jobs[0].name, "urgent");  // by priority
  EXPECT_EQ(plan.jobs[1].workload, plan.training.workload);
  EXPECT_TRUE(plan.failures.isolated);
  EXPECT_EQ(plan.failures.resync_s.value.p50, 20);
  EXPECT_EQ(plan.state_power.repair.value.p50, 0.1);
  EXPECT_EQ(plan.prices.parts->node_usd_per_gpu.value.p50, 12e3);
  for (const EvidenceLine& line : plan.evidence) EXPECT_FALSE(line.source.empty()) << line.what;
}

TEST(PlanFile, MistakesInTheRestAreToldToo) {
  EXPECT_THAT(mistake(full_with("to = \"other\"", "to = \"hall\"")), HasSubstr("another site"));
  EXPECT_THAT(mistake(full_with("to = \"other\"", "to = \"othr\"")), HasSubstr("'other'"));
  EXPECT_THAT(mistake(full_with("samples = { value = 1e9, source = \"assumption: one training\" }", "")),
              HasSubstr("either samples or gpu_hours"));
  EXPECT_THAT(mistake(full_with("name = \"urgent\"", "name = \"first\"")), HasSubstr("already"));
  EXPECT_THAT(
      mistake(full_with("node_usd_per_gpu", "vendor_share = { value = 0.6, source = \"s\" }\nnode_usd_per_gpu")),
      HasSubstr("either vendor_share or"));
  EXPECT_THAT(mistake(full_with("network_usd_per_gpu = { value = 5e3, source = \"assumption: fabric\" }", "")),
              HasSubstr("network_usd_per_gpu"));
  EXPECT_THAT(mistake(full_with("resync_s", "resynch_s")), HasSubstr("resynch_s"));
  EXPECT_THAT(mistake(full_with("isolated = true", "")), HasSubstr("only with isolated"));
  EXPECT_THAT(mistake(full_with("transit_days", "transit_day")), HasSubstr("transit_days"));
  EXPECT_THAT(mistake(full_with("workload = \"resnet50\"", "workload = \"resnet5\"")), HasSubstr("resnet50"));
  EXPECT_THAT(
      mistake(full_with("hardware = \"h100-sxm\"\npue = { value = 1.3", "hardware = \"h200\"\npue = { value = 1.3")),
      HasSubstr("same hardware"));
}

TEST(PlanFile, DeliveriesByTheDay) {
  const std::string daily = with("last = { date = 2024-10-31, source = \"assumption: October\" }",
                                 "per_day = { value = 500, source = \"assumption: trucks\" }");
  EXPECT_EQ(parse_plan(daily, "x.toml").deliveries[0].per_day->value.p50, 500);
  EXPECT_THAT(mistake(with("last = {", "per_day = { value = 500, source = \"s\" }\nlast = {")), HasSubstr("not both"));
}

TEST(PlanFile, ALotThatBringsWhatAnotherLeaves) {
  const auto second = [](const std::string& gpus, const std::string& less) {
    return std::string(kPlan) + "[[delivery]]\nname = \"rest\"\nsite = \"hall\"\ngpus = { value = " + gpus +
           ", source = \"memo\" }\n" + less +
           "first = { date = 2024-08-01, source = \"assumption: then\" }\nusd_per_gpu = { value = 30e3, source = \"s\" "
           "}\n";
  };
  const Plan plan = parse_plan(second("60000", "less = \"lot\"\n"), "x.toml");
  ASSERT_TRUE(plan.deliveries[1].less.has_value());
  EXPECT_EQ(median_gpus(plan.deliveries, plan.deliveries[1]), 10000);
  EXPECT_THAT(mistake(second("60000", "less = \"lit\"\n")), HasSubstr("'lot'"));
  EXPECT_THAT(mistake(second("40000", "less = \"lot\"\n")), HasSubstr("the total of both"));
}

TEST(PlanFile, OrdersWithALeadTime) {
  const std::string first = "first = { date = 2024-07-01, source = \"assumption: July\" }\n";
  const std::string last = "last = { date = 2024-10-31, source = \"assumption: October\" }\n";
  const std::string order =
      "ordered = { date = 2024-06-01, source = \"s\" }\nlead_days = { low = 60, value = 90, high = 120, source = \"s\" "
      "}\n";
  const Delivery lot = parse_plan(with(first + last, order), "x.toml").deliveries[0];
  EXPECT_EQ(iso_date(Day(std::chrono::days(int(lot.first.days.value.p50)))), "2024-08-30");
  EXPECT_THAT(mistake(with(last, order)), HasSubstr("not with ordered"));
  EXPECT_THAT(mistake(with(last, "lead_days = { value = 9, source = \"s\" }\n")), HasSubstr("only with ordered"));
}

TEST(PlanFile, NamesAreOfOneEntryEach) {
  const std::string plan = kPlan;
  EXPECT_THAT(mistake(plan + plan.substr(plan.find("[[delivery]]"))), HasSubstr("there is a delivery 'lot' already"));
  EXPECT_THAT(mistake(full_with("[[transfer]]",
                                "[[site.hall]]\nname = \"old\"\ngpus = { value = 1, source = \"s\" }\n"
                                "ready = { date = 2024-06-01, source = \"s\" }\n[[transfer]]")),
              HasSubstr("there is a hall 'old' already"));
}

TEST(PlanFile, AFigureThatCannotHaveARangeRefusesOne) {
  EXPECT_THAT(mistake(full_with("pod_gpus = { value = 3072", "pod_gpus = { low = 1024, value = 3072, high = 4096")),
              HasSubstr("without low and high"));
}

TEST(PlanFile, SourcesAreWorthTheirWeakestPart) {
  const auto evidence = [](const std::string& source) {
    return parse_plan(with("date = 2024-07-01, source = \"assumption: July\"", "date = 2024-07-01, " + source),
                      "x.toml")
        .deliveries[0]
        .first.days.evidence;
  };
  EXPECT_EQ(evidence("source = \"memo\""), Evidence::kPublished);
  EXPECT_EQ(evidence("source = \"Assumption: x\""), Evidence::kAssumed);
  EXPECT_EQ(evidence("late_days = 9, source = \"memo; range assumed\""), Evidence::kAssumed);
  EXPECT_THAT(mistake(with("source = \"assumption: July\"", "source = \" \"")),
              AllOf(HasSubstr("plans/x.toml:30"), HasSubstr("is empty")));
}

TEST(PlanFile, FailureRatesOfOtherHardwareAreAssumed) {
  EXPECT_EQ(parse_plan(kPlan, "x.toml").failures.node_failures_per_day.evidence, Evidence::kPublished);
  EXPECT_EQ(parse_plan(with("h100-sxm", "b200"), "x.toml").failures.node_failures_per_day.evidence, Evidence::kAssumed);
  for (const char* name : {"dojo-exapod", "xai-300k-b200"})
    EXPECT_EQ(load_plan(name).failures.node_failures_per_day.evidence, Evidence::kAssumed) << name;
}

TEST(PlanFile, PowerStepsComeInTheOrderOfTheirDates) {
  const auto second = [](const std::string& date) {
    return with("[[site.hall]]", "[[site.power]]\nfrom = { date = " + date +
                                     ", source = \"s\" }\nmegawatts = { value = 9, source = \"s\" }\n[[site.hall]]");
  };
  EXPECT_EQ(parse_plan(second("2024-06-01"), "x.toml").sites[0].power.size(), 2U);
  EXPECT_THAT(mistake(second("2024-05-31")), AllOf(HasSubstr("plans/x.toml:23"), HasSubstr("order of their dates")));
}

TEST(PlanFile, GpusInServiceHaveAPrice) {
  const std::string there = with("fabric_share", "in_service = { value = 10, source = \"s\" }\nfabric_share");
  EXPECT_FALSE(parse_plan(there, "x.toml").sites[0].usd_per_gpu.has_value());  // the delivery's
  const size_t delivery = there.find("[[delivery]]");
  EXPECT_THAT(mistake(there.substr(0, delivery)), HasSubstr("nothing says what they cost"));
  EXPECT_THAT(mistake(with("fabric_share", "usd_per_gpu = { value = 1, source = \"s\" }\nfabric_share")),
              HasSubstr("only beside in_service"));
}

TEST(PlanFile, TheExampleOfTheManualIsRead) {
  const std::string manual = read_text(std::string(FARSCALE_SOURCE_DIR) + "/docs/plan-format.md");
  const size_t begin = manual.find("```toml\n") + 8;
  const Plan plan = parse_plan(manual.substr(begin, manual.find("```", begin) - begin), "docs/plan-format.md");
  EXPECT_EQ(plan.sites.size(), 3U);
  EXPECT_EQ(plan.deliveries.size(), 3U);
  EXPECT_EQ(plan.rentals.size() + plan.transfers.size() + plan.jobs.size(), 3U);
  EXPECT_TRUE(plan.prices.parts.has_value());
}

}  // namespace
}  // namespace farscale
