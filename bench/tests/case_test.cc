// Suites are strict, expand to the same cases everywhere, and scaling keeps what it promises.
#include "bench/case.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace farscale {
namespace {

using testing::HasSubstr;

std::string error_of(const std::string& toml) {
  try {
    parse_suite(toml, "mine.toml");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Suite, MistakesNameLineAndNearestName) {
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"fp32\"]\nsqares = [512]\n"),
              AllOf(HasSubstr("mine.toml:3"), HasSubstr("squares")));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"bf61\"]\nsquares = [512]\n"),
              AllOf(HasSubstr("mine.toml:2"), HasSubstr("'bf16'")));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"fp32\"]\nsquares = [-1]\n"), HasSubstr("mine.toml:3"));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"fp32\"]\n"), HasSubstr("names no GEMM"));
  EXPECT_THAT(error_of("[[gemm]]\nsquares = [8]\n"), HasSubstr("types"));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"fp32\"]\nsquares = [8]\nlayouts = [\"ntt\"]\n"), HasSubstr("'nt'"));
  EXPECT_THAT(error_of("[[memory]]\nkinds = [\"cpy\"]\nbytes = [64]\n"), HasSubstr("'copy'"));
  EXPECT_THAT(error_of("[[collective]]\nkinds = [\"allreduce\"]\nbytes = [64]\n"), HasSubstr("'all_reduce'"));
  EXPECT_THAT(error_of("[[collective]]\nkinds = [\"all_reduce\"]\nbytes = [64]\nplacement = \"inplace\"\n"),
              HasSubstr("'in_place'"));
  EXPECT_THAT(error_of("[sampling]\nbudget = 3\n"), AllOf(HasSubstr("mine.toml:2"), HasSubstr("budget_s")));
  EXPECT_THAT(error_of("[sampling]\nleast_samples = 9\nmost_samples = 3\n"), HasSubstr("most_samples"));
  EXPECT_THAT(error_of("[[step]]\nscale = 0.5\n"), HasSubstr("scale"));
  EXPECT_THAT(error_of("[[step]]\nbucket_rule = \"pytroch\"\n"), HasSubstr("'pytorch'"));
  EXPECT_THAT(error_of("gemm = 3\n"), HasSubstr("gemm"));
  EXPECT_THAT(error_of("[[gemm]\n"), HasSubstr("mine.toml:1"));
}

TEST(Suite, TablesInheritSamplingAndMayOverride) {
  const Suite suite = parse_suite(
      "[sampling]\nbudget_s = 3\ninterval = 0.02\n[[memory]]\nkinds = [\"copy\"]\nbytes = [8]\nbudget_s = 5\n"
      "[[collective]]\nkinds = [\"all_reduce\"]\nbytes = [8]\nplacement = \"both\"\n",
      "/tmp/mine.toml");
  EXPECT_EQ(suite.name, "mine");
  EXPECT_EQ(suite.memory.at(0).sampling.budget_s, 5);
  EXPECT_EQ(suite.memory.at(0).sampling.interval, 0.02);
  EXPECT_EQ(suite.collective.at(0).sampling.budget_s, 3);
  EXPECT_EQ(suite.collective.at(0).in_place, (std::vector<bool>{false, true}));
}

TEST(Suite, ShippedOnesParseAndUnknownOnesAreSuggested) {
  EXPECT_THAT(shipped_suites(), testing::IsSupersetOf({"quick", "node", "full"}));
  for (const std::string& name : shipped_suites()) {
    const Suite suite = parse_suite(suite_text(name), name);
    EXPECT_EQ(suite.name, name);
    EXPECT_FALSE(expand_suite(suite, nullptr, {.ranks = 2, .only = {"gemm", "memory", "collective"}}).empty()) << name;
  }
  try {
    suite_text("quik");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'quick'"));
  }
  EXPECT_THROW(suite_text("./absent.toml"), InputError);
  EXPECT_THROW(suite_text("/tmp/"), InputError);
}

Suite small_suite() {
  return parse_suite(
      "[[gemm]]\ntypes = [\"fp32\", \"fp64\"]\nsquares = [8, 8]\nshapes = [{m = 2, n = 3, k = 4}]\nlayouts = [\"nn\", "
      "\"tn\"]\n"
      "[[gemm]]\ntypes = [\"fp32\"]\nsquares = [8]\ncold = false\ndata = \"zeros\"\n"
      "[[memory]]\nkinds = [\"triad\"]\nbytes = [1200]\n"
      "[[collective]]\nkinds = [\"all_reduce\", \"all_gather\"]\nbytes = [1000]\n[[start]]\nrepeats = 3\n",
      "small.toml");
}

TEST(Expand, NamesAreUniqueAndTellSettingsApart) {
  const std::vector<Case> cases = expand_suite(small_suite(), nullptr, {.ranks = 3});
  std::set<std::string> names;
  for (const Case& item : cases) names.insert(item.name);
  EXPECT_EQ(names.size(), cases.size());
  EXPECT_TRUE(names.contains("gemm/fp32/nn/8x8x8"));
  EXPECT_TRUE(names.contains("gemm/fp32/nn/8x8x8/hot/zeros"));
  EXPECT_TRUE(names.contains("gemm/fp64/tn/2x3x4"));
  EXPECT_TRUE(names.contains("memory/triad/fp32/100")) << "1200 bytes moved over three arrays of 4 bytes";
  EXPECT_TRUE(names.contains("collective/all_reduce/fp32/1008B/3ranks")) << "1000 rounded up to 3 ranks x 4 bytes";
  EXPECT_TRUE(names.contains("start/communicator/3ranks"));
  EXPECT_EQ(cases.size(), 4u + 8 + 1 + 1 + 2);
}

TEST(Expand, OnlyBudgetAndRepetitionsApply) {
  const std::vector<Case> cases =
      expand_suite(small_suite(), nullptr, {.ranks = 1, .only = {"memory"}, .budget_s = 9, .exact_samples = 4});
  ASSERT_EQ(cases.size(), 1u);
  EXPECT_EQ(cases[0].sampling.budget_s, 9);
  EXPECT_EQ(cases[0].sampling.least_samples, 4);
  EXPECT_EQ(cases[0].sampling.most_samples, 4);
}

TEST(Scaled, CutsTheLargestDimensionsToACommonLevel) {
  const GemmProblem tall{.m = 2457600, .n = 224, .k = 32};
  EXPECT_EQ(scaled(tall, 256).m, 9600);
  EXPECT_EQ(scaled(tall, 256).n, 224);
  EXPECT_EQ(scaled(tall, 1), tall);
  const GemmProblem cube{.m = 1024, .n = 1024, .k = 1024};
  EXPECT_EQ(scaled(cube, 64), (GemmProblem{.m = 256, .n = 256, .k = 256}));
  const GemmProblem two{.m = 4000, .n = 1000, .k = 10};
  const GemmProblem cut = scaled(two, 16);  // level 500 for m and n: 8 x 2
  EXPECT_EQ(cut, (GemmProblem{.m = 500, .n = 500, .k = 10}));
}

TEST(Scaled, FlopsShrinkByTheScale) {
  for (const GemmProblem& gemm :
       {GemmProblem{.m = 38400, .n = 1232, .k = 1232}, GemmProblem{.m = 112, .n = 1008, .k = 614400, .batch = 2},
        GemmProblem{.m = 9600, .n = 3024, .k = 3024}, GemmProblem{.m = 10000, .n = 9600, .k = 32, .batch = 8}}) {
    for (double scale : {4.0, 64.0, 256.0, 1024.0}) {
      const GemmProblem small = scaled(gemm, scale);
      EXPECT_NEAR(small.flops() * scale / gemm.flops(), 1, 0.05) << gemm.name() << " / " << scale;
      EXPECT_LE(small.m, gemm.m);
      EXPECT_LE(small.n, gemm.n);
      EXPECT_LE(small.k, gemm.k);
    }
  }
  // Every dimension at its floor: the batch shrinks.
  EXPECT_EQ(scaled({.m = 8, .n = 8, .k = 8, .batch = 64}, 16), (GemmProblem{.m = 8, .n = 8, .k = 8, .batch = 4}));
}

}  // namespace
}  // namespace farscale
