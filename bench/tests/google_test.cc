// The fence: which flags pass, that the library filters, and that it calls each case once whatever the environment
// says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "bench/google_driver.h"
#include "bench/google_flags.h"
#include "kernels/error.h"

namespace farscale {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& argument) {
  try {
    parse_google_flags({argument}, {"--budget", "--only"});
  } catch (const InputError& error) {
    return error.what();
  }
  return "taken";
}

TEST(GoogleFlags, RefusedOnesNameTheAlternative) {
  EXPECT_THAT(refusal("--benchmark_min_time=1"), HasSubstr("--budget"));
  EXPECT_THAT(refusal("--benchmark_min_warmup_time=1"), HasSubstr("warmed up"));
  EXPECT_THAT(refusal("--benchmark_enable_random_interleaving=true"), HasSubstr("seed"));
  EXPECT_THAT(refusal("--benchmark_enable_random_interleaving"), HasSubstr("seed"));
  EXPECT_THAT(refusal("--benchmark_perf_counters=CYCLES"), HasSubstr("perf stat"));
  EXPECT_THAT(refusal("--benchmark_report_aggregates_only=true"), HasSubstr("raw sample"));
}

TEST(GoogleFlags, UnknownOnesAreSuggested) {
  EXPECT_THAT(refusal("--benchmark_fliter=x"), HasSubstr("did you mean '--benchmark_filter'"));
  EXPECT_THAT(refusal("--bugdet"), HasSubstr("did you mean '--budget'"));
  EXPECT_THAT(refusal("second_suite"), HasSubstr("unexpected argument 'second_suite'"));
  EXPECT_THAT(refusal("--benchmark_filter"), HasSubstr("wants a value"));
  EXPECT_THAT(refusal("--benchmark_repetitions=0"), HasSubstr("1 to 1000000"));
  EXPECT_THAT(refusal("--benchmark_repetitions=1e9"), HasSubstr("whole number"));
  EXPECT_THAT(refusal("--benchmark_format=jsn"), HasSubstr("'json'"));
  EXPECT_THAT(refusal("--benchmark_context=novalue"), HasSubstr("KEY=VALUE"));
}

TEST(GoogleFlags, AcceptedOnesAreRead) {
  const GoogleFlags flags =
      parse_google_flags({"--benchmark_filter=a=b", "--benchmark_list_tests", "--benchmark_format=csv",
                          "--benchmark_out=x.json", "--benchmark_repetitions=12", "--benchmark_context=node=7,rack=b=c",
                          "--benchmark_counters_tabular=true", "--benchmark_color=false"},
                         {});
  EXPECT_EQ(flags.filter, "a=b");
  EXPECT_TRUE(flags.list_tests);
  EXPECT_EQ(flags.format, "csv");
  EXPECT_EQ(flags.out, "x.json");
  EXPECT_EQ(flags.repetitions, 12);
  EXPECT_TRUE(flags.counters_tabular);
  EXPECT_EQ(flags.context, (std::vector<std::pair<std::string, std::string>>{{"node", "7"}, {"rack", "b=c"}}));
}

TEST(GoogleDriver, TheLibraryFilters) {
  const std::vector<std::string> names = {"gemm/fp32/nn/8x8x8", "gemm/fp64/nn/8x8x8", "memory/copy/fp32/8",
                                          "gemm/fp32/nn/8x8x80"};
  const auto matching = [&](const std::string& filter) { return matching_names(names, {.filter = filter}); };
  EXPECT_EQ(matching(""), names);
  EXPECT_EQ(matching("fp32"), (std::vector<std::string>{names[0], names[2], names[3]}));
  EXPECT_EQ(matching("8x8x8$"), (std::vector<std::string>{names[0], names[1]})) << "names end where they seem to end";
  EXPECT_EQ(matching("-gemm"), (std::vector<std::string>{names[2]}));
  EXPECT_EQ(matching("^memory|fp64"), (std::vector<std::string>{names[1], names[2]}));
  EXPECT_THROW(matching("gemm/(fp32"), InputError);
  EXPECT_THROW(matching("nothing_like_this"), InputError);
}

TEST(GoogleDriver, EachCaseIsCalledOnceInOrder) {
  // What would add calls or shuffle, had the environment a say.
  ::setenv("BENCHMARK_REPETITIONS", "3", 1);
  ::setenv("BENCHMARK_MIN_WARMUP_TIME", "1", 1);
  std::vector<size_t> called;
  drive({"a", "b", "c"}, {}, Display::kNothing, [&](size_t index) -> RunOutcome {
    called.push_back(index);
    if (index == 1) return {.ok = false, .reason = "skipped: no", .time_s = 0, .runs = 1, .counters = {}};
    return {.ok = true, .reason = "", .time_s = 1.5, .runs = 10, .counters = {}};
  });
  EXPECT_EQ(called, (std::vector<size_t>{0, 1, 2}));
}

TEST(GoogleDriver, ItsOwnFileHoldsOurMediansAndCounters) {
  const std::string path = testing::TempDir() + "farscale_google_driver_test.json";
  std::filesystem::remove(path);
  drive({"gemm/one"}, {.out = path}, Display::kNothing, [&](size_t) -> RunOutcome {
    return {.ok = true, .reason = "", .time_s = 0.25, .runs = 40, .counters = {{"flops_per_s", 123}}};
  });
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_THAT(text, HasSubstr("\"name\": \"gemm/one\""));
  EXPECT_THAT(text, HasSubstr("\"iterations\": 40"));
  EXPECT_THAT(text, HasSubstr("\"real_time\": 2.5000000000000000e+05"));
  EXPECT_THAT(text, HasSubstr("\"flops_per_s\": 1.2300000000000000e+02"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace farscale
