// Rings on networks: closed forms, limits, what the text of a network may say, and the command that asks.
#include "cluster/ring_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cluster/collective_command.h"
#include "cluster/model_file.h"
#include "kernels/error.h"

namespace farscale {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr CollectiveKind kAllReduce = CollectiveKind::kAllReduce;

// 5 MB/s on the bus and a millisecond a step, on 2 to 4 ranks.
CollectiveFit fit() {
  return {.ring = true,
          .base_s = 0,
          .hop_s = 1e-3,
          .from_bytes = {0},
          .s_per_byte = {1 / 5e6},
          .log_sigma = 0.01,
          .least_ranks = 2,
          .most_ranks = 4,
          .least_bytes = 1e3,
          .most_bytes = 1e6,
          .records = 9};
}

TEST(RingNetwork, OneLeafOfEqualLinksIsTheFit) {
  for (const int64_t ranks : {2, 4, 16}) EXPECT_DOUBLE_EQ(ring_slowdown({}, ranks), 1);
  EXPECT_NEAR(ring_time(fit(), kAllReduce, 16, 1e6, {}).p50, 30 * 1e-3 + 2 * 15.0 / 16 * 1e6 / 5e6, 1e-9);
}

TEST(RingNetwork, InterleavedRanksShareTheUplink) {
  for (const double oversubscription : {1.0, 2.0, 4.0, 8.0}) {
    const RingNetwork apart{.per_leaf = 4, .oversubscription = oversubscription, .interleaved = true};
    EXPECT_DOUBLE_EQ(ring_slowdown(apart, 16), oversubscription);
  }
}

TEST(RingNetwork, LeafAfterLeafOneRankCrosses) {
  const auto at = [](double oversubscription) {
    return ring_slowdown({.per_leaf = 4, .oversubscription = oversubscription}, 16);
  };
  EXPECT_DOUBLE_EQ(at(1), 1);
  EXPECT_DOUBLE_EQ(at(4), 1);  // the uplink is as fast as one host's link
  EXPECT_DOUBLE_EQ(at(8), 2);
}

TEST(RingNetwork, NothingCrossesInsideOneLeaf) {
  const RingNetwork network{.per_leaf = 4, .oversubscription = 8, .interleaved = true};
  EXPECT_DOUBLE_EQ(ring_slowdown(network, 4), 1);
  EXPECT_DOUBLE_EQ(ring_slowdown(network, 5), 8);
}

TEST(RingNetwork, TheSlowestLinkDecides) {
  EXPECT_DOUBLE_EQ(ring_slowdown({.slowest = 0.25}, 16), 4);
  EXPECT_DOUBLE_EQ(ring_slowdown({.per_leaf = 4, .oversubscription = 8, .interleaved = true, .slowest = 0.25}, 16), 8);
}

TEST(RingNetwork, OnlyTheBytesSlowDown) {
  const RingNetwork slow{.slowest = 0.5};
  const double small_s = ring_time(fit(), kAllReduce, 8, 1, slow).p50;
  EXPECT_NEAR(small_s, 14e-3, 1e-6);
  const double free_s = ring_time(fit(), kAllReduce, 8, 1e6, {}).p50;
  EXPECT_NEAR(ring_time(fit(), kAllReduce, 8, 1e6, slow).p50, 2 * free_s - 14e-3, 1e-9);
}

TEST(RingNetwork, RangeWidensBeyondTheFittedRanks) {
  const auto width = [](int64_t ranks) {
    const Estimate time_s = ring_time(fit(), kAllReduce, ranks, 1e6, {});
    return time_s.p95 / time_s.p05;
  };
  EXPECT_DOUBLE_EQ(width(2), width(4));
  EXPECT_GT(width(8), 1.1 * width(4));
  EXPECT_GT(width(16), 1.1 * width(8));
}

TEST(RingNetwork, ReadsItsText) {
  const RingNetwork network = parse_ring_network("per_leaf=4 oversubscription=2.5 order=interleaved slowest=0.25");
  EXPECT_EQ(network.per_leaf, 4);
  EXPECT_DOUBLE_EQ(network.oversubscription, 2.5);
  EXPECT_TRUE(network.interleaved);
  EXPECT_DOUBLE_EQ(network.slowest, 0.25);
  EXPECT_EQ(parse_ring_network("").per_leaf, 0);
}

TEST(RingNetwork, BadTextSaysWhere) {
  const auto reading = [](const std::string& text) { return [text] { parse_ring_network(text); }; };
  EXPECT_THAT(reading("per_leav=4"), ThrowsMessage<InputError>(HasSubstr("per_leaf")));
  EXPECT_THAT(reading("slowest=2"), ThrowsMessage<InputError>(HasSubstr("network 'slowest=2': expected")));
  EXPECT_THAT(reading("slowest=fast"), ThrowsMessage<InputError>(HasSubstr("expected a number")));
  EXPECT_THAT(reading("order=random"), ThrowsMessage<InputError>(HasSubstr("order=interleaved")));
}

// A model file with the fit above.
std::string model_path() {
  const std::string path = testing::TempDir() + "ring_network_model.json";
  Machine::Data model = load_hardware("h100-sxm").data();
  model.collective_fits = {{kAllReduce, fit()}};
  std::ofstream(path) << model_to_json(model);
  return path;
}

std::string answer(CollectiveQuestion question) {
  question.model = model_path();
  testing::internal::CaptureStdout();
  predict_collective(question);
  return testing::internal::GetCapturedStdout();
}

TEST(PredictCollective, AnswersEverySizeAtEveryNumberOfRanks) {
  const std::string table = answer({.kind = "all_reduce", .bytes = {500000, 1000000}, .ranks = {2, 8}});
  EXPECT_THAT(table, HasSubstr("102 ms"));  // 2 ranks: 2 ms of latency and 0.1 s on the wire
  EXPECT_THAT(table, HasSubstr("202 ms"));
  EXPECT_THAT(table, HasSubstr("189 ms"));  // 8 ranks: 14 ms and 0.175 s
  EXPECT_THAT(table, HasSubstr("364 ms"));
  EXPECT_THAT(table, HasSubstr("fitted to 9 records on 2 to 4 ranks"));
}

TEST(PredictCollective, JsonHasTheRangeAndTheNetwork) {
  const std::string json =
      answer({.kind = "all_reduce", .bytes = {1000000}, .ranks = {8}, .network = "slowest=0.25", .as_json = true});
  EXPECT_THAT(json, HasSubstr("\"p50\": 1.414"));  // 14 ms and four times 0.35 s
  EXPECT_THAT(json, HasSubstr("\"network_slowdown\": 4.0"));
  EXPECT_THAT(json, HasSubstr("\"extrapolated_from_ranks\": 4"));
}

TEST(PredictCollective, SaysWhatIsMissing) {
  const auto asking = [](const CollectiveQuestion& question) { return [question] { predict_collective(question); }; };
  EXPECT_THAT(asking({.kind = "all_reduce", .bytes = {1}, .ranks = {2}}),
              ThrowsMessage<InputError>(HasSubstr("--model")));
  EXPECT_THAT(asking({.model = model_path(), .kind = "all_reduce", .ranks = {2}}),
              ThrowsMessage<InputError>(HasSubstr("--bytes")));
  EXPECT_THAT(asking({.model = model_path(), .kind = "broadcast", .bytes = {1}, .ranks = {2}}),
              ThrowsMessage<InputError>(HasSubstr("has no fit of broadcast")));
  EXPECT_THAT(asking({.model = model_path(), .kind = "all_reduce", .bytes = {1}, .ranks = {1}}),
              ThrowsMessage<InputError>(HasSubstr("at least 2 ranks")));
}

}  // namespace
}  // namespace farscale
