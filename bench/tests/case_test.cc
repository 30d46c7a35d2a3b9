// Suites are strict, expand to the same cases everywhere, and scaling keeps what it promises.
#include "bench/case.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
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

TEST(Suite, AMisspeltRequiredKeyIsToldBeforeTheMissingOne) {
  EXPECT_THAT(error_of("[[gemm]]\ntyps = [\"fp32\"]\nsquares = [8]\n"), AllOf(HasSubstr(":2"), HasSubstr("'types'")));
  EXPECT_THAT(error_of("[[memory]]\nkind = [\"copy\"]\nbytes = [8]\n"), AllOf(HasSubstr(":2"), HasSubstr("'kinds'")));
  EXPECT_THAT(error_of("[[memory]]\nkinds = [\"copy\"]\nbyte = [8]\n"), AllOf(HasSubstr(":3"), HasSubstr("'bytes'")));
  EXPECT_THAT(error_of("[[collective]]\nkind = [\"all_reduce\"]\nbytes = [8]\n"), HasSubstr("'kinds'"));
  EXPECT_THAT(error_of("[[memory]]\nbytes = [8]\n"), HasSubstr("kinds: expected at least one name"));
  EXPECT_THAT(error_of("[[collective]]\nkinds = [\"all_reduce\"]\n"), HasSubstr("bytes: expected at least one size"));
}

TEST(Suite, SettingsThatNoTypeOrKindHasAreRefused) {
  const std::string gemm = "[[gemm]]\nsquares = [8]\n", memory = "[[memory]]\nbytes = [8]\n";
  EXPECT_THAT(error_of(gemm + "types = [\"fp32\"]\nscaling = \"block\"\n"), HasSubstr("only fp8 and fp4"));
  EXPECT_THAT(error_of(gemm + "types = [\"fp4\"]\nscaling = \"tensor\"\n"), HasSubstr("only fp8"));
  EXPECT_THAT(error_of(gemm + "types = [\"fp32\"]\nfast_accumulation = true\n"), HasSubstr("mine.toml:4"));
  EXPECT_EQ(error_of(gemm + "types = [\"fp32\", \"fp8_e4m3\"]\nscaling = \"tensor\"\nfast_accumulation = true\n"),
            "no error");
  EXPECT_EQ(error_of(gemm + "types = [\"fp4\"]\nscaling = \"block\"\n"), "no error");
  EXPECT_THAT(error_of(memory + "kinds = [\"copy\"]\nto = \"bf16\"\n"), HasSubstr("mine.toml:4"));
  EXPECT_THAT(error_of(memory + "kinds = [\"convert\"]\n"), HasSubstr("to: convert needs a type other than fp32"));
  EXPECT_EQ(error_of(memory + "kinds = [\"copy\", \"pack\"]\nto = \"bf16\"\n"), "no error");
  EXPECT_EQ(error_of(memory + "kinds = [\"convert\"]\ntype = \"bf16\"\n"), "no error") << "to fp32";
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

TEST(Expand, CollectivesTellHowTheyAreLaunched) {
  const Suite suite = parse_suite(
      "[[collective]]\nkinds = [\"all_reduce\", \"send_recv\"]\nbytes = [64]\ntypes = [\"bf16\", \"fp8_e4m3\"]\n"
      "graph = true\nregistered = true\nmost_ctas = [0, 8]\n"
      "[[start]]\nbytes = [1022, 4096]\n",
      "launch.toml");
  const std::vector<Case> cases = expand_suite(suite, nullptr, {.ranks = 2});
  std::map<std::string, const Case*> named;
  for (const Case& item : cases) named[item.name] = &item;
  EXPECT_EQ(cases.size(), 3u + 2 + 2 * 2 * 2);
  ASSERT_TRUE(named.contains("collective/send_recv/fp8_e4m3/64B/2ranks/graph/registered/ctas8"));
  const Case& limited = *named.at("collective/send_recv/fp8_e4m3/64B/2ranks/graph/registered/ctas8");
  EXPECT_TRUE(limited.graph && limited.registered);
  EXPECT_EQ(limited.most_ctas, 8);
  EXPECT_EQ(named.at("collective/all_reduce/bf16/64B/2ranks/graph/registered")->most_ctas, 0);
  EXPECT_EQ(named.at("start/first_all_reduce/1024B/2ranks")->start_bytes, 1024) << "rounded up to whole elements";
  EXPECT_THAT(error_of("[[collective]]\nkinds = [\"all_reduce\"]\nbytes = [64]\ntypes = [\"fp9\"]\n"),
              HasSubstr("fp9"));
}

TEST(Expand, GemmVariantsAndWhatFp8IsScaledBy) {
  const Suite suite = parse_suite(
      "[[gemm]]\ntypes = [\"fp8_e4m3\", \"bf16\"]\nshapes = [{m = 64, n = 32, k = 16, batch = 11}]\n"
      "layouts = [\"nt\"]\nfast_accumulation = true\nepilogues = [\"none\", \"bias_gelu\"]\non = \"cuda\"\n"
      "[[gemm]]\ntypes = [\"fp4\", \"fp8_e5m2\"]\nsquares = [64]\nscaling = \"block\"\n"
      "[[gemm]]\ntypes = [\"bf16\"]\nworkload_shapes = 2\nworkload = \"resnet50\"\n"
      "[[memory]]\nkinds = [\"convert\", \"layer_norm\"]\ntype = \"bf16\"\nto = \"fp8_e4m3\"\nbytes = [6000]\n",
      "variants.toml");
  std::set<std::string> names;
  const std::vector<Case> cases = expand_suite(suite, nullptr, {});
  for (const Case& item : cases) names.insert(item.name);
  EXPECT_TRUE(names.contains("gemm/fp8_e4m3/nt/64x32x16/b11/tensor_scaled/fast"));
  EXPECT_TRUE(names.contains("gemm/fp8_e4m3/nt/64x32x16/b11/tensor_scaled/fast/bias_gelu"));
  EXPECT_TRUE(names.contains("gemm/bf16/nt/64x32x16/b11/bias_gelu")) << "only fp8 accumulates fast";
  EXPECT_TRUE(names.contains("gemm/fp4/nn/64x64x64/block_scaled"));
  EXPECT_TRUE(names.contains("gemm/fp8_e5m2/nn/64x64x64/block_scaled"));
  EXPECT_TRUE(names.contains("memory/convert/bf16-fp8_e4m3/2000"));
  EXPECT_TRUE(names.contains("memory/layer_norm/bf16/2048")) << "whole rows";
  EXPECT_EQ(names.size(), 4u + 2 + 2 + 2) << "two shapes of resnet50";
  EXPECT_EQ(cases_on(cases, "host").size(), cases.size() - 4);
  EXPECT_EQ(cases_on(cases, "cuda").size(), cases.size());
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"fp8_e4m3\"]\nsquares = [8]\nscaling = \"tensr\"\n"),
              HasSubstr("'tensor'"));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"bf16\"]\nsquares = [8]\nepilogues = [\"bias_glu\"]\n"),
              HasSubstr("'bias_gelu'"));
  EXPECT_THAT(error_of("[[gemm]]\ntypes = [\"bf16\"]\nsquares = [8]\nworkload = \"resnet50\"\n"),
              HasSubstr("only workload_shapes"));
}

// Fifty shapes in four types on one GPU: what burst and sustained samples may take, and a quarter of a second each for
// choosing the algorithm, stay under three minutes.
TEST(Suite, NodeCharacterisesAGpuInThreeMinutes) {
  const Suite suite = parse_suite(suite_text("node"), "node");
  const Workload workload = load_workload(suite.workload);
  std::map<NumberType, std::set<std::string>> shapes;
  double planned_s = 0;
  for (const Case& item : expand_suite(suite, &workload, {.only = {"gemm"}})) {
    if (item.on != "cuda" || item.sampling.cool_s == Sampling{}.cool_s) continue;
    const auto& gemm = std::get<GemmProblem>(*item.problem);
    shapes[gemm.type].insert(fmt::format("{}x{}x{}x{}", gemm.m, gemm.n, gemm.k, gemm.batch));
    planned_s += item.sampling.cool_s + 0.05 + item.sampling.sustain_s + 0.25;
    EXPECT_GT(item.sampling.sustain_s, 0);
    const bool quoted = gemm.m == 8192 || gemm.m == 2457600 || gemm.batch == 11;
    EXPECT_EQ(item.sampling.sustain_s >= 1, quoted && item.sampling.cool_s >= 1)
        << item.name << ": long enough to be steady";
  }
  EXPECT_EQ(shapes.size(), 4u);
  for (const auto& [type, names] : shapes) {
    EXPECT_GE(names.size(), 45u) << name(type);
    EXPECT_TRUE(names.contains("8192x8192x8192x1"));
    EXPECT_TRUE(names.contains("2457600x224x32x1"));
    EXPECT_TRUE(names.contains("38400x112x1008x11"));
  }
  EXPECT_LT(planned_s, 180);
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
