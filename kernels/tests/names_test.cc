// Number types, suggestions, and the world of one process.
#include <gmock/gmock.h>

#include <cstdlib>
#include <numeric>

#include "kernels/error.h"
#include "kernels/module.h"
#include "kernels/number_type.h"
#include "kernels/suggest.h"
#include "kernels/world.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(NumberTypes, EveryTypeHasItsOwnNameAndComesBack) {
  std::vector<std::string> names;
  for (NumberType type : kNumberTypes) {
    EXPECT_EQ(parse_number_type(name(type)), type);
    EXPECT_GT(bytes_per_element(type), 0);
    names.emplace_back(name(type));
  }
  EXPECT_THAT(names,
              testing::ElementsAre("fp64", "fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp4", "int8"));
}

TEST(NumberTypes, Sizes) {
  EXPECT_EQ(bytes_per_element(NumberType::kFp64), 8);
  EXPECT_EQ(bytes_per_element(NumberType::kTf32), 4);  // stored as fp32
  EXPECT_EQ(bytes_per_element(NumberType::kBf16), 2);
  EXPECT_EQ(bytes_per_element(NumberType::kFp8E5M2), 1);
  EXPECT_EQ(bytes_per_element(NumberType::kFp4), 0.5);
}

TEST(NumberTypes, MisspeltOnesGetTheNearest) {
  EXPECT_THAT([] { parse_number_type("bf61"); }, ThrowsMessage<InputError>(HasSubstr("did you mean 'bf16'?")));
  EXPECT_THAT([] { parse_number_type("fp8_e4m2"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("number type 'fp8_e4m2'"), HasSubstr("'fp8_e4m3'"))));
  EXPECT_THROW(parse_number_type(""), InputError);
}

TEST(EditDistance, KnownPairs) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("gpus", "gups"), 1);  // neighbours swapped count once
  EXPECT_EQ(edit_distance("ca", "abc"), 3);     // optimal string alignment, not Damerau: a swap is not edited again
  EXPECT_EQ(edit_distance("H100", "h100"), 0);
}

TEST(Suggestion, NearEnoughOrNothing) {
  const std::vector<std::string> names = {"resnet50", "h100-sxm", "xai-300k-b200", "gpt3-175b"};
  EXPECT_EQ(nearest_name("resnet5O", names), "resnet50");
  EXPECT_EQ(nearest_name("h100-pcie", names), "h100-sxm");
  EXPECT_EQ(nearest_name("xai-300k", names), "xai-300k-b200");  // a prefix is meant, however short
  EXPECT_EQ(nearest_name("banana", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Suggestion, SentenceListsTwelveAtMost) {
  std::vector<std::string> names;
  for (int i = 10; i < 30; ++i) names.push_back("name" + std::to_string(i));
  const std::string sentence = unknown_name("plan", "nmae10", names);
  EXPECT_THAT(sentence, AllOf(HasSubstr("unknown plan 'nmae10'"), HasSubstr("did you mean 'name10'?"),
                              HasSubstr("name21"), HasSubstr("…")));
  EXPECT_THAT(sentence, Not(HasSubstr("name22")));
}

TEST(MaybeValue, HoldsAValueOrAReason) {
  Maybe<int> there = 3;
  ASSERT_TRUE(there);
  EXPECT_EQ(*there, 3);
  const auto absent = Maybe<int>::absent("no GPU");
  EXPECT_FALSE(absent);
  EXPECT_EQ(absent.reason(), "no GPU");
}

TEST(Errors, CarryTheirExitCode) {
  EXPECT_EQ(InputError("x").code(), ExitCode::kBadInput);
  EXPECT_EQ(EnvironmentError("x").code(), ExitCode::kEnvironment);
  EXPECT_EQ(CallError("x").code(), ExitCode::kFailedCase);
  EXPECT_EQ(static_cast<int>(ExitCode::kEnvironment), 3);
}

TEST(SingleWorld, IsARankOfItsOwn) {
  const auto world = single_world();
  EXPECT_EQ(world->rank(), 0);
  EXPECT_EQ(world->size(), 1);
  EXPECT_EQ(world->local_rank(), 0);
  EXPECT_EQ(world->hosts().size(), 1u);
  EXPECT_EQ(world->broadcast("text"), "text");
  EXPECT_THAT(world->gather("mine"), testing::ElementsAre("mine"));
  EXPECT_THAT(world->reduce({1, 2.5}, Reduction::kMax), testing::ElementsAre(1, 2.5));
  EXPECT_EQ(world->duplicate()->size(), 1);
}

TEST(SingleWorld, EveryCollectiveOfOneRankIsACopy) {
  const auto world = single_world();
  std::vector<float> send(256), receive(256);
  std::iota(send.begin(), send.end(), 1.0f);
  for (CollectiveKind kind : kCollectiveKinds) {
    std::fill(receive.begin(), receive.end(), 0.0f);
    world->collective({.kind = kind, .bytes = 1024}, send.data(), receive.data());
    EXPECT_EQ(receive, send) << name(kind);
  }
  world->collective({.bytes = 1024, .in_place = true}, send.data(), send.data());
  EXPECT_EQ(send, receive);
}

TEST(Modules, AnAbsentOneIsAReasonNotAnError) {
  const auto world = single_world();
  const auto backend = open_backend("no-such-backend", *world);
  EXPECT_FALSE(backend);
  EXPECT_THAT(backend.reason(), HasSubstr("farscale-no-such-backend.so was not built"));
}

TEST(Modules, ShippedDataIsFoundAndMissingDataSaidSo) {
  EXPECT_THAT(data_folder("workloads"), HasSubstr("workloads"));
  EXPECT_THAT([] { data_folder("no-such-folder"); }, ThrowsMessage<EnvironmentError>(HasSubstr("FARSCALE_DATA")));
}

}  // namespace
}  // namespace farscale
