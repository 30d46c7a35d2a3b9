// The search over layouts: what it finds, what it says about the others, and what does not fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cluster/machine.h"
#include "cluster/predictor.h"
#include "cluster/tests/message_of.h"
#include "kernels/error.h"

namespace farscale {
namespace {

class Search : public testing::Test {
 protected:
  Machine machine_ = load_hardware("h100-sxm");
  Workload large_ = load_workload("gpt3-175b");
  PredictOptions options_{.draws = 20};
};

TEST_F(Search, SmallNetworksStayPlain) {
  Predictor predictor(load_workload("resnet50"), machine_, options_);
  for (const int64_t gpus : {1, 8, 4096}) {
    EXPECT_EQ(predictor.at(gpus).layout.str(), Layout{.dp = gpus}.str());
    EXPECT_EQ(predictor.at(gpus).bucket_bytes, 0);
  }
}

TEST_F(Search, LargeOnesAreSplitAndTheOthersSayWhyNot) {
  Predictor predictor(large_, machine_, options_);
  const std::vector<Candidate>& all = predictor.candidates(512);
  EXPECT_GT(all.size(), 200u);
  EXPECT_TRUE(all.front().why_not.empty());
  EXPECT_LE(all.front().memory_bytes, usable_bytes(machine_.data()));
  bool again = false, sharded = false, hybrid = false, tensor = false, pipeline = false, chunks = false,
       buckets = false;
  for (size_t i = 1; i < all.size(); ++i) {
    const Layout& layout = all[i].choice.layout;
    EXPECT_FALSE(all[i].why_not.empty()) << all[i].choice.str();
    again |= layout.checkpoint == Layout::Checkpoint::kAll;
    sharded |= layout.zero_stage == 3, hybrid |= layout.hsdp_shard > 0, tensor |= layout.tp > 1;
    pipeline |= layout.pp > 1, chunks |= layout.interleave > 1, buckets |= all[i].choice.bucket_bytes > 0;
    // Every layout trains the same samples in a step.
    const int64_t size = layout.micro_batch > 0 ? layout.micro_batch : large_.default_micro_batch();
    EXPECT_EQ(layout.dp * size * layout.accumulation, 512) << layout.str();
    if (all[i].samples_per_s > 0) {
      EXPECT_LE(all[i].samples_per_s, 1.011 * all.front().samples_per_s) << all[i].choice.str();
      EXPECT_LE(all[i].memory_bytes, usable_bytes(machine_.data()));
    }
  }
  EXPECT_TRUE(again && sharded && hybrid && tensor && pipeline && chunks && buckets);
  EXPECT_THAT(all[1].why_not, testing::AnyOf(testing::HasSubstr("slower"), testing::HasSubstr("simpl")));
  EXPECT_THAT(all, testing::Contains(testing::Field(&Candidate::why_not, testing::HasSubstr("usable"))));
}

// The layout that is found is the best of those weighed, also when they are asked for by name.
TEST_F(Search, AskingForALayoutFindsNoBetterOne) {
  options_.draws = 500;
  struct Case {
    const char* workload;
    const char* hardware;
    int64_t gpus;
  };
  for (const Case& one : {Case{"llama3-8b", "gb200-nvl72", 262'144}, Case{"vit-l16", "mi355x", 4096},
                          Case{"vit-l16", "a100-pcie", 512}, Case{"gpt3-175b", "h100-sxm", 512}}) {
    const Workload workload = load_workload(one.workload);
    const Machine machine = load_hardware(one.hardware);
    Predictor predictor(workload, machine, options_);
    const double found = predictor.at(one.gpus).samples_per_s.p50;
    const std::vector<Candidate>& all = predictor.candidates(one.gpus);
    for (size_t i = 1; i < std::min<size_t>(8, all.size()) && all[i].samples_per_s > 0; ++i) {
      PredictOptions asked = options_;
      asked.layout = all[i].choice.layout.str();
      asked.bucket_bytes = all[i].choice.bucket_bytes;
      const double rate = predict(workload, machine, one.gpus, asked).samples_per_s.p50;
      EXPECT_LT(rate, 1.02 * found) << one.workload << " on " << one.hardware << ": " << all[i].choice.str();
      EXPECT_NEAR(rate / all[i].samples_per_s, 1, 0.05) << all[i].choice.str();
    }
  }
}

// A GPU never trains more because there are more of them: beyond the size from which every split is possible the rate
// of one falls, but for the hundredth that a simpler layout may cost. Memory apart, which sharding frees.
TEST_F(Search, MoreGpusNeverRaiseTheRateOfOne) {
  options_.ignore_memory = true;
  for (const char* name : {"resnet50", "vit-l16", "llama3-8b"}) {
    const Workload workload = load_workload(name);
    for (const char* hardware : {"b300", "mi355x", "gb200-nvl72"}) {
      Predictor predictor(workload, load_hardware(hardware), options_);
      double least = INFINITY;
      for (const int64_t gpus : {4096, 262'144}) {
        const double rate = predictor.candidates(gpus).front().samples_per_s / double(gpus);
        EXPECT_LT(rate, 1.012 * least) << name << " on " << gpus << " " << hardware;
        least = std::min(least, rate);
      }
    }
  }
}

// 72 GPUs of a rack divide no power of two: shards take 64 of them, and growing costs no cliff.
TEST_F(Search, ShardsFitDomainsOfAnySize) {
  Predictor predictor(load_workload("llama3-8b"), load_hardware("gb200-nvl72"), options_);
  const auto rate = [&](int64_t gpus) { return predictor.candidates(gpus).front().samples_per_s / double(gpus); };
  EXPECT_GT(rate(1024), 0.9 * rate(64));
  EXPECT_THAT(predictor.candidates(1024), testing::Contains(testing::ResultOf(
                                              [](const Candidate& one) { return one.choice.layout.hsdp_shard; }, 64)));
  EXPECT_THAT(predict(load_workload("llama3-8b"), load_hardware("gb200-nvl72"), 1024, options_).warnings,
              testing::Contains(testing::HasSubstr("64 of the 72")));
}

TEST_F(Search, LongSequencesTryContextParallelism) {
  Predictor predictor(load_workload("llama3-8b"), machine_, options_);
  bool context = false;
  for (const Candidate& one : predictor.candidates(64)) context |= one.choice.layout.cp > 1;
  EXPECT_TRUE(context);
}

TEST_F(Search, TheBatchAskedForIsKept) {
  options_.batch = 1536;
  Predictor predictor(large_, machine_, options_);
  const Layout layout = predictor.at(512).layout;
  const int64_t size = layout.micro_batch > 0 ? layout.micro_batch : large_.default_micro_batch();
  EXPECT_EQ(layout.dp * size * layout.accumulation, 1536);
  options_.layout = "tp=8 pp=8";
  EXPECT_EQ(predict(large_, machine_, 512, options_).layout.accumulation, 192);
  options_.batch = 1537;
  EXPECT_THAT(message_of([&] { predict(large_, machine_, 512, options_); }), testing::HasSubstr("1537"));
}

TEST_F(Search, MoreBatchHidesTheBubble) {
  options_.layout = "tp=8 pp=8";
  const auto bubble = [&](int64_t batch) {
    options_.batch = batch;
    const Prediction p = predict(large_, machine_, 512, options_);
    return p.breakdown_s.bubble / p.step_time_s.p50;
  };
  EXPECT_LT(bubble(1536), 0.5 * bubble(256));
}

TEST_F(Search, WhatDoesNotFitIsRefusedWithItsBytes) {
  options_.layout = "mb=1";
  const Workload workload = load_workload("hydranet-regnety16gf");
  const Machine small = load_hardware("dojo-d1");
  const std::string message = message_of([&] { predict(workload, small, 25, options_); });
  EXPECT_THAT(message, testing::AllOf(testing::HasSubstr("mb=1"), testing::HasSubstr("GB a GPU"),
                                      testing::HasSubstr("6.40 GB"), testing::HasSubstr("--ignore-memory")));
  options_.ignore_memory = true;
  const Prediction p = predict(workload, small, 25, options_);
  EXPECT_GT(p.memory_bytes, small.data().memory_bytes.value.p50);
  EXPECT_THAT(p.warnings, testing::Contains(testing::HasSubstr("needs")));
}

TEST_F(Search, ChunksNeedAPipeline) {
  options_.layout = "interleave=4";
  EXPECT_THAT(message_of([&] { predict(large_, machine_, 512, options_); }), testing::HasSubstr("pp="));
}

TEST_F(Search, NothingFitsNamesTheLeast) {
  EXPECT_THAT(
      message_of([&] { predict(large_, load_hardware("v100"), 8, options_); }),
      testing::AllOf(testing::HasSubstr("does not fit"), testing::HasSubstr("a GPU"), testing::HasSubstr("usable")));
}

// One GPU has no sharded layout, and of the plain ones the gradients alone are too many: all that they need is said.
TEST_F(Search, NothingFitsCountsMoreThanGradients) {
  const Workload workload = load_workload("llama3-70b");
  const auto needed_gb = [&](int64_t gpus) {
    const std::string message = message_of([&] { predict(workload, machine_, gpus, options_); });
    const size_t at = message.find("takes ");
    EXPECT_NE(at, std::string::npos) << message;
    const double value = std::stod(message.substr(at + 6));
    return message.substr(at).find("TB a GPU") < 20 ? 1000 * value : value;
  };
  const double parameters_gb = double(workload.parameters()) / 1e9;
  EXPECT_GT(needed_gb(1), 16 * parameters_gb);  // weights, gradients, fp32 copy and two moments
  EXPECT_GT(needed_gb(8), 16 * parameters_gb / 8);
  EXPECT_LT(needed_gb(8), 32 * parameters_gb / 8);
}

// A rank of a pipeline does its share of the work, or more: the stage that is priced is the slowest of the machine.
TEST_F(Search, PipelinesDoNotMakeWorkVanish) {
  for (const std::string& name : shipped_workloads()) {
    Predictor predictor(load_workload(name), machine_, options_);
    const auto work_s = [&](int64_t pp) {  // of a rank for one micro-batch; the optimizer is a hundredth of a step
      const StepTimes times = predictor.median_times({.layout = {.pp = pp, .accumulation = 512}}, pp);
      return (times.compute + times.memory) / 512;
    };
    const double whole = work_s(1);
    for (const int64_t pp : {2, 4, 8}) {
      try {
        EXPECT_GE(double(pp) * work_s(pp), 0.98 * whole) << name << " pp=" << pp;
        EXPECT_LE(work_s(pp), whole) << name << " pp=" << pp;
      } catch (const InputError&) {  // too few blocks
      }
    }
  }
}

TEST_F(Search, PipelinesAreNoShortcutForVision) {
  options_.batch = 4096;
  options_.layout = "auto";
  for (const char* name : {"hydranet-regnety16gf", "bevformer-base"}) {
    Predictor predictor(load_workload(name), machine_, options_);
    const std::vector<Candidate>& all = predictor.candidates(64);
    double plain = 0, split = 0;
    for (const Candidate& one : all) {
      const Layout& layout = one.choice.layout;
      double& best = layout.pp == 1 ? plain : split;
      best = std::max(best, one.samples_per_s);
    }
    EXPECT_GT(split, 0) << name;
    EXPECT_LT(split, 1.05 * plain) << name;
  }
}

TEST_F(Search, OddNumbersOfGpusSaySo) {
  EXPECT_THAT(predict(large_, machine_, 4099, options_).warnings, testing::Contains(testing::HasSubstr("4,096")));
  EXPECT_THAT(predict(large_, machine_, 4096, options_).warnings,
              testing::Not(testing::Contains(testing::HasSubstr("divide"))));
}

TEST_F(Search, ABudgetOfMemoryChangesTheLayout) {
  const Workload workload = load_workload("llama3-8b");
  const auto with = [&](double bytes) {
    auto data = std::make_shared<Machine::Data>(machine_.data());
    data->memory_bytes.value = {bytes, bytes, bytes};
    return predict(workload, Machine(data), 64, options_);
  };
  const Prediction tight = with(30e9), wide = with(1e12);
  EXPECT_NE(tight.layout.str(), wide.layout.str());
  EXPECT_LT(tight.memory_bytes, 30e9);
  EXPECT_LE(tight.samples_per_s.p50, 1.02 * wide.samples_per_s.p50);
}

// Four layers of 16 experts: expert parallel ranks are among the data parallel ones.
TEST_F(Search, ExpertsAreSpread) {
  const std::string path = testing::TempDir() + "/experts.toml";
  std::ofstream(path) << R"(name = "experts"
title = "A mixture of experts"
provenance = "proxy"
sources = ["made for this test"]
sample_unit = "sequence"
micro_batch = 1
[inputs]
tokens = 2048
store = "tokens"
[[layer]]
id = "words"
op = "embedding"
vocabulary = 1024
width = 1024
[[layer]]
id = "decoder"
op = "transformer"
layers = 4
heads = 16
ffn = 4096
bias = false
experts = 16
top_k = 2
causal = true
[[layer]]
id = "loss"
op = "loss"
)";
  Predictor predictor(load_workload(path), machine_, options_);
  int64_t most = 1;
  for (const Candidate& one : predictor.candidates(64)) most = std::max(most, one.choice.layout.ep);
  EXPECT_EQ(most, 16);
  options_.layout = "ep=8";
  Predictor spread(load_workload(path), machine_, options_);
  EXPECT_THAT(spread.communication_notes(64),
              testing::Contains(testing::Field(&CollectiveNote::what, testing::HasSubstr("all_to_all"))));
}

}  // namespace
}  // namespace farscale
