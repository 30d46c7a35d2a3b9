// Predictions: limits, monotony, sums, and what bad input says.
#include "cluster/predict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "cluster/collective_model.h"
#include "cluster/machine.h"
#include "cluster/predictor.h"
#include "cluster/tests/message_of.h"
#include "kernels/error.h"

namespace farscale {
namespace {

Machine changed(const Machine& machine, const std::function<void(Machine::Data&)>& change) {
  auto data = std::make_shared<Machine::Data>(machine.data());
  change(*data);
  return Machine(data);
}

void scale(Quantity& quantity, double factor) {
  quantity.value = {quantity.value.p05 * factor, quantity.value.p50 * factor, quantity.value.p95 * factor};
}

class Predict : public testing::Test {
 protected:
  Workload workload_ = load_workload("resnet50");
  Machine machine_ = load_hardware("h100-sxm");
  PredictOptions options_{.draws = 200};

  Prediction at(int64_t gpus) { return predict(workload_, machine_, gpus, options_); }
};

TEST_F(Predict, BreakdownSumsToTheMedian) {
  for (const int64_t gpus : {1, 8, 512, 50000, 300000}) {
    const Prediction p = at(gpus);
    const Breakdown& b = p.breakdown_s;
    EXPECT_NEAR((b.compute + b.memory + b.exposed_comm + b.bubble + b.straggler + b.input) / p.step_time_s.p50, 1,
                1e-9);
  }
}

// Parts are those of the draws next to the median: what communication adds there is not booked as compute.
TEST(Breakdown, IsThatOfTheDrawsNextToTheMedian) {
  std::vector<StepTimes> draws;
  for (int i = 100; i >= 0; --i) draws.push_back({.compute = 1, .exposed_comm = i < 40 ? 0 : 0.01 * (i - 40)});
  const StepTimes middle = middle_of(draws);
  EXPECT_NEAR(middle.total(), 1.1, 1e-12);
  EXPECT_NEAR(middle.compute, 1, 1e-3);
  EXPECT_NEAR(middle.exposed_comm, 0.1, 1e-3);
}

// Compute that nothing makes uncertain stays what it is, however uncertain the network.
TEST_F(Predict, BreakdownLeavesComputeAlone) {
  const Machine certain = changed(machine_, [](Machine::Data& data) {
    const auto fix = [](Quantity& quantity) {
      quantity.value = {quantity.value.p50, quantity.value.p50, quantity.value.p50};
    };
    for (auto& [kind, share] : data.efficiency.tensor) fix(share);
    for (Quantity* one : {&data.efficiency.memory, &data.efficiency.gather, &data.efficiency.launch_s,
                          &data.efficiency.overhead, &data.memory_bytes_per_s}) {
      fix(*one);
    }
    data.model_log_sigma = 0;
    data.ranks = {};
    scale(data.nic_bytes_per_s, 0.1);
  });
  const auto work_s = [&](int64_t gpus) {
    const Breakdown b = predict(workload_, certain, gpus, {.layout = "mb=256", .draws = 200}).breakdown_s;
    return b.compute + b.memory;
  };
  EXPECT_NEAR(work_s(16384) / work_s(1), 1, 0.02);
}

TEST_F(Predict, RangeHoldsTheMedianAndSeedRepeats) {
  const Prediction p = at(4096), again = at(4096);
  EXPECT_LT(p.step_time_s.p05, p.step_time_s.p50);
  EXPECT_LT(p.step_time_s.p50, p.step_time_s.p95);
  EXPECT_EQ(p.step_time_s.p95, again.step_time_s.p95);
  options_.seed = 2;
  EXPECT_NE(at(4096).step_time_s.p95, p.step_time_s.p95);
  EXPECT_EQ(p.samples_per_s_draws.size(), 200u);
}

TEST_F(Predict, GpusChangeTheAnswer) {
  double exposed = -1, efficiency = 2, width = 0;
  for (const int64_t gpus : {8, 64, 512, 4096, 50000, 300000}) {
    const Prediction p = at(gpus);
    EXPECT_GE(p.breakdown_s.exposed_comm, exposed);
    EXPECT_LT(p.scaling_efficiency.p50, efficiency);
    exposed = p.breakdown_s.exposed_comm * 0.999;
    efficiency = p.scaling_efficiency.p50;
    EXPECT_GE(p.scaling_efficiency.p95 - p.scaling_efficiency.p05, width * 0.95);
    width = p.scaling_efficiency.p95 - p.scaling_efficiency.p05;
  }
  EXPECT_EQ(at(8).scaling_efficiency.p50, 1);
}

// Of a layout that shards over all ranks too, whatever the number of GPUs divides by.
TEST_F(Predict, EfficiencyIsAgainstTheSmallestThatRuns) {
  options_.layout = "tp=8 pp=8 zero=1 accum=64";
  options_.ignore_memory = true;
  const Prediction p = predict(load_workload("gpt3-175b"), machine_, 64 * 781, options_);
  EXPECT_LT(p.scaling_efficiency.p50, 0.995);
  EXPECT_GT(p.scaling_efficiency.p50, 0.5);
}

TEST_F(Predict, OneGpuDoesNotCommunicate) {
  const Prediction p = at(1);
  EXPECT_EQ(p.breakdown_s.exposed_comm, 0);
  EXPECT_EQ(p.breakdown_s.straggler, 0);
}

TEST_F(Predict, MoreBandwidthIsNeverSlower) {
  double last = INFINITY;
  for (const double factor : {0.01, 0.1, 1.0, 10.0, 1e6}) {
    const Machine faster = changed(machine_, [&](Machine::Data& data) {
      scale(data.scale_up_bytes_per_s, factor);
      scale(data.nic_bytes_per_s, factor);
    });
    const double time_s = predict(workload_, faster, 1024, options_).step_time_s.p50;
    EXPECT_LE(time_s, last * (1 + 1e-12));
    last = time_s;
  }
}

TEST_F(Predict, MoreLatencyIsNeverFaster) {
  double last = 0;
  for (const double factor : {0.1, 1.0, 10.0, 100.0}) {
    const Machine slower =
        changed(machine_, [&](Machine::Data& data) { scale(data.collectives.latency_scale, factor); });
    const double time_s = predict(workload_, slower, 1024, options_).step_time_s.p50;
    EXPECT_GE(time_s, last);
    last = time_s;
  }
}

// Bytes that leave a scale-up domain by each of its cards in one step, at least, whatever the algorithm.
double card_bytes(const LoweredStep& step, const StepGroups& groups, const Layout& layout) {
  const auto least = [](CollectiveKind kind, const Group& group, double bytes) {
    return group.domains() <= 1 ? 0 : bus_factor(kind, group.domains()) * bytes / double(group.per_domain);
  };
  constexpr std::pair<const char*, GroupName> kNames[] = {
      {"dp", GroupName::kData},      {"tp", GroupName::kTensor},   {"cp", GroupName::kContext},
      {"ep", GroupName::kExpert},    {"shard", GroupName::kShard}, {"replica", GroupName::kReplica},
      {"copies", GroupName::kCopies}};
  const auto repeats = double(layout.accumulation);
  double bytes = 0;
  for (const StepCollective& one : step.collectives) {
    const double times = double(one.count) * (one.pass == Pass::kOptimizer ? 1 : repeats);
    for (const auto& [group, name] : kNames) {
      if (one.group == group) bytes += times * least(one.kind, of(groups, name), double(one.bytes));
    }
    if (one.group == "pp" && one.pass == Pass::kForward) bytes += times * double(one.bytes);
  }
  for (const Bucket& bucket : step.buckets) {
    const GroupName group = layout.hsdp_shard > 0 ? GroupName::kShard : GroupName::kData;
    bytes += (layout.zero_stage >= 2 ? repeats : 1) * least(bucket.kind, of(groups, group), double(bucket.bytes));
  }
  return bytes;
}

// No step is shorter than its traffic takes at the card's rate: of every kind, alone and together.
TEST_F(Predict, NoCardSendsFasterThanItCan) {
  constexpr double kRate = 0.1e9 / 8;
  const Machine slow = changed(machine_, [](Machine::Data& data) {
    data.nic_bytes_per_s.value = {kRate, kRate, kRate};
  });
  const Workload large = load_workload("gpt3-175b");
  for (const char* text : {"dp=64", "tp=16", "cp=16", "dp=8 tp=8 cp=2", "dp=64 zero=1", "dp=64 zero=2 accum=4",
                           "dp=64 zero=3 accum=2", "dp=64 zero=3 hsdp=16", "dp=2 pp=8 accum=8", "tp=8 pp=8 accum=64",
                           "tp=8 pp=8 accum=64 interleave=4", "tp=8 pp=2 accum=2 interleave=8", "tp=16 pp=4 accum=8",
                           "dp=8 tp=8 pp=8 accum=16 interleave=2 zero=1", "dp=16 tp=4 pp=2 cp=2 accum=4 zero=3"}) {
    Layout layout = parse_layout(text, 0);
    const int64_t gpus = layout.dp * layout.tp * layout.pp * layout.cp;
    const PredictOptions options{.layout = text, .draws = 20, .ignore_memory = true};
    layout = predict(large, slow, gpus, options).layout;
    const double bytes = card_bytes(lower(large, {.layout = layout}), step_groups(slow.data(), layout), layout);
    EXPECT_GT(bytes, 0) << text;
    EXPECT_GE(predict(large, slow, gpus, options).step_time_s.p05, bytes / kRate) << text;
  }
}

TEST_F(Predict, WithoutSpreadNobodyWaits) {
  const Machine even = changed(machine_, [](Machine::Data& data) { data.ranks = {}; });
  EXPECT_EQ(predict(workload_, even, 300000, options_).breakdown_s.straggler, 0);
  EXPECT_GT(at(300000).breakdown_s.straggler, at(8).breakdown_s.straggler);
}

TEST_F(Predict, EjectingTheSlowestBoundsThePersistentSpread) {
  const Machine uneven = changed(machine_, [](Machine::Data& data) {
    data.ranks.persistent.value = {0.03, 0.03, 0.03};
    data.ranks.transient.value = {0.001, 0.001, 0.001};
  });
  const double all = predict(workload_, uneven, 50000, options_).breakdown_s.straggler;
  options_.eject = 0.01;
  const Prediction p = predict(workload_, uneven, 50000, options_);
  EXPECT_LT(p.breakdown_s.straggler, 0.7 * all);
  EXPECT_THAT(p.warnings, testing::Contains(testing::HasSubstr("50,506")));  // 50,000 / 0.99 bought
  // On eight GPUs a hundredth is nobody.
  const double few = predict(workload_, uneven, 8, options_).breakdown_s.straggler;
  options_.eject = 0;
  EXPECT_EQ(predict(workload_, uneven, 8, options_).breakdown_s.straggler, few);
  options_.eject = 0.6;
  EXPECT_THROW(predict(workload_, uneven, 8, options_), InputError);
}

TEST_F(Predict, HeavierTailsWaitLonger) {
  const auto straggler = [&](double tail, double shape) {
    const Machine machine = changed(machine_, [&](Machine::Data& data) {
      data.ranks.tail.value = {tail, tail, tail};
      data.ranks.shape.value = {shape, shape, shape};
    });
    return predict(workload_, machine, 50000, options_).breakdown_s.straggler;
  };
  EXPECT_GT(straggler(1, 0), 2 * straggler(0, 0));
  EXPECT_GT(straggler(1, 0.3), 2 * straggler(1, 0));
}

// Micro-batches average what passes, not what stays.
TEST_F(Predict, AccumulationAveragesJitter) {
  const auto share = [&](double persistent, const char* layout) {
    const Machine machine = changed(machine_, [&](Machine::Data& data) {
      data.ranks = {};
      (persistent > 0 ? data.ranks.persistent : data.ranks.transient).value = {0.01, 0.01, 0.01};
    });
    options_.layout = layout;
    const Prediction p = predict(workload_, machine, 512, options_);
    return p.breakdown_s.straggler / (p.breakdown_s.compute + p.breakdown_s.memory);
  };
  EXPECT_NEAR(share(0, "mb=32 accum=16") / share(0, "mb=32"), 0.25, 1e-6);
  EXPECT_NEAR(share(1, "mb=32 accum=16") / share(1, "mb=32"), 1, 1e-6);
}

TEST_F(Predict, SlowInputBinds) {
  const double free_s = at(64).step_time_s.p50;
  options_.input_bytes_per_s = 1e6;
  const Prediction p = at(64);
  EXPECT_EQ(p.binding, "input");
  EXPECT_GT(p.step_time_s.p50, 2 * free_s);
  options_.input_bytes_per_s = 1e12;
  EXPECT_NEAR(at(64).step_time_s.p50, free_s, 1e-9);
}

TEST_F(Predict, SynchronisedBatchNormPaysItsLatency) {
  const auto exposed = [&](const char* layout, int64_t gpus) {
    options_.layout = layout;
    return predict(workload_, machine_, gpus, options_).breakdown_s.exposed_comm;
  };
  // 53 layers, two blocking collectives each, tens of microseconds.
  const double of_512 = exposed("sync_bn=1", 512) - exposed("mb=256", 512);
  EXPECT_GT(of_512, 106 * 30e-6);
  EXPECT_GT(exposed("sync_bn=1", 8192), exposed("sync_bn=1", 512));
}

TEST_F(Predict, NamesItsLargestContributor) {
  const Prediction p = at(4096);
  Predictor predictor(workload_, machine_, options_);
  const std::vector<Sensitivity> all = predictor.sensitivities(4096);
  EXPECT_EQ(p.largest_uncertainty, all.front().what);
  EXPECT_NEAR(p.largest_uncertainty_share, all.front().high_share - all.front().low_share, 0.5);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_LE(all[i].reach(), all[i - 1].reach());
  const Machine vague = changed(machine_, [](Machine::Data& data) {
    data.efficiency.launch_s.value = {1e-6, 3e-6, 1e-3};
  });
  EXPECT_EQ(predict(workload_, vague, 8, options_).largest_uncertainty, "kernel launch");
}

// Communication is less sure the farther it reaches beyond what was measured.
TEST_F(Predict, RangesWidenBeyondTheKnownRanks) {
  const auto width = [&](int64_t published) {
    const Machine machine = changed(machine_, [&](Machine::Data& data) {
      data.collectives.published_ranks = published;
      scale(data.nic_bytes_per_s, 0.02);  // let communication matter
    });
    const Prediction p = predict(workload_, machine, 16384, options_);
    return p.step_time_s.p95 / p.step_time_s.p05;
  };
  EXPECT_GT(width(64), 1.1 * width(16384));
}

// Published collectives are of the GPUs that NCCL's tables know. Of others nobody knows what lies beyond a domain.
TEST_F(Predict, UnmeasuredNetworksAreLessSure) {
  EXPECT_EQ(known_ranks(machine_.data()), machine_.data().collectives.published_ranks);
  EXPECT_EQ(known_ranks(load_hardware("mi300x").data()), 8);
  const auto width = [&](const char* generation) {
    const Machine machine = changed(machine_, [&](Machine::Data& data) { data.generation = generation; });
    const Prediction p = predict(workload_, machine, 1024, {.layout = "dp=1024 mb=32", .draws = 200});
    EXPECT_EQ(*generation == 0, std::any_of(p.warnings.begin(), p.warnings.end(), [](const std::string& warning) {
      return warning.find("nobody measured") != std::string::npos;
    }));
    return p.exposed_comm_share.p95 / p.exposed_comm_share.p05;
  };
  EXPECT_GT(width(""), 1.3 * width("hopper"));
}

TEST_F(Predict, CostDoesNotDependOnTheGpus) {
  Predictor predictor(workload_, machine_, options_);
  EXPECT_EQ(predictor.candidates(8).front().choice.layout.dp, 8);
  EXPECT_EQ(predictor.candidates(1'000'000).front().choice.layout.dp, 1'000'000);
  EXPECT_LE(predictor.candidates(1'000'000).size(), 500u);
}

TEST_F(Predict, AgreesWithPublishedSingleNodes) {
  struct Row {
    const char* hardware;
    int micro_batch;
    double published_s;  // MLPerf Training v1.0 to v3.0, ResNet-50 on one node
  };
  for (const Row& row : {Row{"h100-sxm", 400, 0.0571}, Row{"a100-80gb", 408, 0.120}, Row{"a100-pcie", 408, 0.130},
                         Row{"a30", 204, 0.124}, Row{"v100", 208, 0.149}}) {
    PredictOptions options{.layout = "dp=8 mb=" + std::to_string(row.micro_batch), .draws = 500};
    const Prediction p = predict(workload_, load_hardware(row.hardware), 8, options);
    EXPECT_NEAR(p.step_time_s.p50 / row.published_s, 1, 0.12) << row.hardware;
    EXPECT_LT(p.step_time_s.p05, row.published_s) << row.hardware;
    EXPECT_GT(p.step_time_s.p95, row.published_s) << row.hardware;
  }
}

TEST_F(Predict, EveryNumberHasEvidence) {
  const Prediction p = at(50000);
  EXPECT_GE(p.evidence.size(), 8u);
  for (const EvidenceLine& line : p.evidence) EXPECT_FALSE(line.source.empty()) << line.what;
}

TEST_F(Predict, BadInputNamesTheNearest) {
  EXPECT_THAT(message_of([] { load_hardware("h100-smx"); }), testing::HasSubstr("'h100-sxm'"));
  EXPECT_THAT(message_of([&] { at(0); }), testing::HasSubstr("at least 1"));
  EXPECT_THAT(message_of([&] { at(-5); }), testing::HasSubstr("-5"));
  EXPECT_THAT(message_of([&] { at(1'000'000'000'000); }), testing::HasSubstr("100,000,000"));
}

TEST_F(Predict, TooBigSaysHowManyBytes) {
  const Workload large = load_workload("gpt3-175b");
  EXPECT_THAT(message_of([&] { predict(large, load_hardware("v100"), 1, options_); }),
              testing::AllOf(testing::HasSubstr("does not fit"), testing::HasSubstr("usable")));
}

// The data sheet's H100, on a network that a hardware file describes.
std::string with_network(const std::string& lines) {
  std::ifstream shipped(std::string(FARSCALE_SOURCE_DIR) + "/cluster/hardware/h100-sxm.toml");
  std::string text((std::istreambuf_iterator<char>(shipped)), {});
  const std::string table = "[network]\n";
  text.insert(text.find(table) + table.size(), lines);
  const std::string path = testing::TempDir() + "/own-network.toml";
  std::ofstream(path) << text;
  return path;
}

TEST(Hardware, NetworksCanBeDescribed) {
  const Machine machine = load_hardware(with_network("rail_gpus = 512\npod_gpus = 3072\nspine_oversubscription = 7\n"));
  const LinkValues links = median_links(machine.data());
  EXPECT_EQ(links.tiers[size_t(Tier::kPod)].beyond_ranks, 512);
  EXPECT_EQ(links.tiers[size_t(Tier::kSpine)].beyond_ranks, 3072);
  EXPECT_EQ(links.tiers[size_t(Tier::kSpine)].oversubscription, 7);
  EXPECT_THAT(message_of([] { load_hardware(with_network("rail_gpus = 9000\n")); }), testing::HasSubstr("pod_gpus"));
  EXPECT_THAT(message_of([] { load_hardware(with_network("spine_oversubscripton = 7\n")); }),
              testing::HasSubstr("spine_oversubscription"));
}

TEST(Hardware, EveryShippedEntryIsWhole) {
  const std::vector<std::string> names = shipped_hardware();
  EXPECT_THAT(names, testing::IsSupersetOf({"h100-sxm", "h100-pcie", "h200", "b200", "gb200-nvl72", "a100-40gb",
                                            "a100-80gb", "v100", "mi300x", "dojo-d1"}));
  for (const std::string& name : names) {
    const Machine machine = load_hardware(name);
    EXPECT_EQ(machine.name(), name);
    EXPECT_GT(machine.peak_flops_per_s(machine.data().training_type), 1e13) << name;
    EXPECT_GT(machine.node_power_w().value.p50, machine.gpu_power_w().value.p50) << name;
    EXPECT_LE(machine.gpu_power_w().value.p95, machine.data().limit_w.value.p50) << name;
    for (const auto& [type, rate] : machine.data().flops_per_s) EXPECT_FALSE(rate.source.empty()) << name;
  }
  EXPECT_EQ(load_hardware("h100-sxm").peak_flops_per_s(NumberType::kBf16), 989.5e12);
  EXPECT_EQ(available_type(load_hardware("v100").data(), NumberType::kBf16), NumberType::kFp16);
}

}  // namespace
}  // namespace farscale
