// The CSV reader, and the published tables through it.
#include "results/csv.h"

#include <gmock/gmock.h>

#include <set>

#include "kernels/error.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Csv, FieldsQuotesLinesAndPlaces) {
  const CsvTable table =
      parse_csv("\xEF\xBB\xBFname,gpus,note\r\na,8,\"one, \"\"two\"\"\nthree\"\r\n\r\nb,,\n", "t.csv");
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.text(0, "note"), "one, \"two\"\nthree");
  EXPECT_EQ(table.number(0, "gpus"), 8);
  EXPECT_EQ(table.integer(0, "gpus", 1), 8);
  EXPECT_EQ(table.maybe_number(1, "gpus"), std::nullopt);
  EXPECT_EQ(table.where(0), "t.csv:2");
  EXPECT_EQ(table.where(1), "t.csv:5");
  EXPECT_EQ(table.text_or(1, "colour", "none"), "none");
  EXPECT_TRUE(table.has("name"));
  EXPECT_FALSE(table.has("Name"));
}

TEST(Csv, LastLineNeedsNoEnd) {
  EXPECT_EQ(parse_csv("a,b\n1,\"x\"", "t.csv").text(0, "b"), "x");
  EXPECT_EQ(parse_csv("a,b\n1,", "t.csv").text(0, "b"), "");
}

void fails(const std::string& text, const std::string& place, const std::string& message) {
  EXPECT_THAT([&] { parse_csv(text, "t.csv"); }, ThrowsMessage<InputError>(AllOf(HasSubstr(place), HasSubstr(message))))
      << text;
}

TEST(Csv, BrokenFilesNameTheLine) {
  fails("", "t.csv:1", "header row");
  fails("\n\n", "t.csv:1", "header row");
  fails("a,b\n1,2\n3\n", "t.csv:3", "expected 2 fields as in the header row, found 1");
  fails("a,b\n1,2,3\n", "t.csv:2", "found 3");
  fails("a,a\n1,2\n", "t.csv:1", "twice");
  fails("a,\n1,2\n", "t.csv:1", "without a name");
  fails("a,b\n1,2\n3,\"open\nend", "t.csv:3", "never closed");
  fails("a,b\n1,\"x\"y\n", "t.csv:2", "after the closing quote");
  fails("a,b\n1,x\"y\n", "t.csv:2", "quote inside");
}

TEST(Csv, CellsAreChecked) {
  const CsvTable table = parse_csv("gpus,time_s\n8,fast\n-1,nan\n1.5,1e999\n9,\n 7,inf\n", "t.csv");
  const auto bad = [&](size_t row, const char* column, const char* message) {
    EXPECT_THAT([&] { table.number(row, column, 0); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(table.where(row)), HasSubstr(column), HasSubstr(message))));
  };
  bad(0, "time_s", "expected a number of at least 0, found 'fast'");
  bad(1, "gpus", "found '-1'");
  bad(1, "time_s", "found 'nan'");
  bad(2, "time_s", "found '1e999'");
  bad(3, "time_s", "empty cell");
  bad(4, "gpus", "found ' 7'");
  bad(4, "time_s", "found 'inf'");
  EXPECT_THROW(table.integer(2, "gpus"), InputError);
  EXPECT_THROW(table.integer(3, "time_s"), InputError);
  EXPECT_THAT([&] { table.number(0, "gpu"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("t.csv:1"), HasSubstr("is 'gpus' meant to be it?"))));
}

TEST(Csv, ColumnsAreExpected) {
  const CsvTable table = parse_csv("gpus,step_time_s,lay_out\n", "t.csv");
  EXPECT_NO_THROW(table.expect_columns({"gpus", "step_time_s"}));
  EXPECT_THAT(
      [&] {
        table.expect_columns({"gpus", "steptime_s"});
      },
      ThrowsMessage<InputError>(HasSubstr("is 'step_time_s' meant to be it?")));
  EXPECT_THAT(
      [&] {
        table.expect_columns({"gpus", "step_time_s"}, {"layout"});
      },
      ThrowsMessage<InputError>(AllOf(HasSubstr("unknown column 'lay_out'"), HasSubstr("'layout'"))));
}

TEST(Csv, WrittenFieldsComeBack) {
  for (const std::string text : {"plain", "a,b", "say \"hi\"", "two\nlines", ""}) {
    EXPECT_EQ(parse_csv("c,d\n" + csv_field(text) + ",1\n", "t.csv").text(0, "c"), text);
  }
  EXPECT_EQ(csv_field("plain"), "plain");
}

CsvTable published(const std::string& name) {
  return read_csv(std::string(FARSCALE_SOURCE_DIR) + "/results/published/" + name);
}

TEST(Published, TablesHaveTheirRowsAndSources) {
  const std::vector<std::pair<std::string, size_t>> tables = {
      {"vision_scaling.csv", 443}, {"transformer_scaling.csv", 138},
      {"fsdp_scaling.csv", 204},   {"collectives.csv", 586},
      {"gemm.csv", 388},           {"accelerators.csv", 26},
      {"reliability.csv", 54},     {"power_and_cost.csv", 84}};
  for (const auto& [name, rows] : tables) {
    const CsvTable table = published(name);
    EXPECT_EQ(table.rows(), rows) << name;
    const char* source = name == "accelerators.csv" ? "provenance" : "source";
    for (size_t row = 0; row < table.rows(); ++row) EXPECT_NE(table.text(row, source), "") << table.where(row);
  }
}

TEST(Published, ScalingTablesAreNumbers) {
  for (const char* name : {"vision_scaling.csv", "transformer_scaling.csv", "fsdp_scaling.csv"}) {
    const CsvTable table = published(name);
    std::set<int64_t> gpus;
    for (size_t row = 0; row < table.rows(); ++row) {
      gpus.insert(table.integer(row, "gpus", 1, 100000));
      EXPECT_GT(table.number(row, "step_time_s", 1e-4, 1e4), 0);
      EXPECT_GE(table.integer(row, "global_batch", 1), 1);
    }
    EXPECT_GE(gpus.size(), 5u) << name;
  }
}

// Where nccl-tests' table gives both, time and bus bandwidth must agree through the bus factor of the collective.
TEST(Published, CollectivesAgreeWithTheBusTable) {
  const CsvTable table = published("collectives.csv");
  int checked = 0, off = 0;
  for (size_t row = 0; row < table.rows(); ++row) {
    const auto time_us = table.maybe_number(row, "time_us", 0);
    const double bytes = table.number(row, "bytes", 1), n = table.number(row, "gpus", 2);
    const double published_gb_s = table.number(row, "busbw_gb_s", 0);
    if (table.text(row, "collective") != "all_reduce" || !time_us || bytes < 1 << 20) continue;
    const double bus_gb_s = 2 * (n - 1) / n * bytes / (*time_us * 1e-6) / 1e9;
    ++checked;
    off += std::abs(bus_gb_s / published_gb_s - 1) > 0.01;
  }
  EXPECT_GT(checked, 150);
  EXPECT_EQ(off, 0);
}

}  // namespace
}  // namespace farscale
