// Strict TOML: what it reads, and for everything wrong the line, what was expected and the nearest name.
#include "kernels/strict_toml.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "kernels/error.h"

namespace farscale {
namespace {

using std::chrono::day;
using std::chrono::month;
using std::chrono::sys_days;
using std::chrono::year;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

TomlTable toml(std::string_view text) { return parse_toml(text, "t.toml"); }

template <typename Read>
void fails(std::string_view text, Read read, const std::string& place, const std::string& message) {
  const TomlTable table = toml(text);
  EXPECT_THAT([&] { read(table); }, ThrowsMessage<InputError>(AllOf(HasSubstr(place), HasSubstr(message)))) << text;
}

TEST(StrictToml, ReadsEveryShape) {
  const TomlTable t = toml(R"(name = "x"
gpus = 8
share = 0.5
big = 300_000
on = true
start = 2024-12-31
names = ["a", "b"]
sizes = [1, 2, 3]
rates = [1, 2.5]
[site]
power_w = 1e6
[[orders]]
gpus = 1
[[orders]]
gpus = 2
)");
  EXPECT_EQ(t.text("name"), "x");
  EXPECT_EQ(t.integer("gpus"), 8);
  EXPECT_EQ(t.number("gpus"), 8);
  EXPECT_EQ(t.number("share", kFraction), 0.5);
  EXPECT_EQ(t.integer("big", kPositive), 300000);
  EXPECT_TRUE(t.flag("on", false));
  EXPECT_EQ(t.date("start"), sys_days(year{2024} / month{12} / day{31}));
  EXPECT_THAT(t.texts("names"), ElementsAre("a", "b"));
  EXPECT_THAT(t.integers("sizes"), ElementsAre(1, 2, 3));
  EXPECT_THAT(t.numbers("rates"), ElementsAre(1, 2.5));
  EXPECT_EQ(t.table("site").number("power_w"), 1e6);
  const auto orders = t.tables("orders");
  ASSERT_EQ(orders.size(), 2u);
  EXPECT_EQ(orders[1].integer("gpus"), 2);
  EXPECT_EQ(orders[0].integer("gpus"), 1);
  EXPECT_NO_THROW(t.finish());
}

TEST(StrictToml, FallbacksOnlyForMissingKeys) {
  const TomlTable t = toml("gpus = 4\n");
  EXPECT_EQ(t.integer("gpus", {}, 7), 4);
  EXPECT_EQ(t.integer("nodes", {}, 7), 7);
  EXPECT_EQ(t.number("rate", kPositive, 0.25), 0.25);
  EXPECT_EQ(t.text("name", "none"), "none");
  EXPECT_FALSE(t.flag("on", false));
  EXPECT_EQ(t.choice("mode", {"a", "b"}, "b"), "b");
  EXPECT_EQ(t.date("start", sys_days{}), sys_days{});
  EXPECT_THAT(t.texts("names"), IsEmpty());
  EXPECT_THAT(t.tables("orders"), IsEmpty());
  EXPECT_FALSE(t.maybe_table("site").has_value());
  fails(
      "gpus = \"four\"", [](const TomlTable& x) { x.integer("gpus", {}, 7); }, "t.toml:1", "found text");
}

TEST(StrictToml, UnknownKeysAreRefusedWithLineAndNearest) {
  const auto read = [](const TomlTable& t) {
    t.integer("gpus", {}, 1);
    t.text("name", "");
    t.finish();
  };
  fails("\nname = \"x\"\ngpsu = 8\n", read, "t.toml:3: gpsu", "did you mean 'gpus'?");
  fails("colour = 1\n", read, "t.toml:1", "unknown key 'colour'");
}

TEST(StrictToml, UnknownKeysBelowAreRefusedToo) {
  const auto read = [](const TomlTable& t) {
    for (const TomlTable& order : t.tables("orders")) order.integer("gpus", {}, 0);
    t.table("site").table("power").number("grid_w", {}, 0);
    t.finish();
  };
  fails("[site.power]\n[[orders]]\ngpus = 1\n[[orders]]\ngpus = 2\nprise = 3\n", read, "t.toml:6: orders[1].prise",
        "unknown key");
  fails("[site.power]\ngrid_w = 1\ngird_w = 1\n", read, "t.toml:3: site.power.gird_w", "unknown key");
  // A table nobody asked for is an unknown key as a whole.
  fails("[site.power]\n[extra]\na = 1\n", read, "extra", "unknown key");
}

TEST(StrictToml, LookingAtKeysIsNotAskingForThem) {
  const TomlTable t = toml("b = 1\na = 2\n");
  EXPECT_THAT(t.keys(), ElementsAre("b", "a"));  // in file order
  EXPECT_EQ(t.shape("b"), "number");
  EXPECT_EQ(t.shape("c"), "");
  EXPECT_FALSE(t.has("c"));
  EXPECT_THROW(t.finish(), InputError);
  EXPECT_TRUE(t.has("a"));
  EXPECT_TRUE(t.has("b"));
  EXPECT_NO_THROW(t.finish());
}

TEST(StrictToml, MissingKeysPointAtTheTableAndTheMisspelling) {
  fails(
      "[site]\npowr = 1\n", [](const TomlTable& t) { t.table("site").number("power"); }, "t.toml:1: site.power",
      "is 'powr' meant to be it?");
  fails(
      "a = 1\n", [](const TomlTable& t) { t.text("name"); }, "name", "missing: expected text");
  fails(
      "a = 1\n", [](const TomlTable& t) { t.date("start"); }, "start", "a date like 2024-12-31");
  fails(
      "a = 1\n", [](const TomlTable& t) { t.table("site"); }, "site", "expected a table");
}

TEST(StrictToml, WrongTypesSayWhatWasFound) {
  fails(
      "a = \"8\"", [](const TomlTable& t) { t.number("a"); }, "t.toml:1: a", "found text");
  fails(
      "a = true", [](const TomlTable& t) { t.number("a"); }, "t.toml:1: a", "found flag");
  fails(
      "a = 8.5", [](const TomlTable& t) { t.integer("a"); }, "t.toml:1: a", "whole number");
  fails(
      "a = 8", [](const TomlTable& t) { t.text("a"); }, "t.toml:1: a", "text in quotes, found number");
  fails(
      "a = 1", [](const TomlTable& t) { t.flag("a", false); }, "t.toml:1: a", "true or false");
  fails(
      "a = \"2024-12-31\"", [](const TomlTable& t) { t.date("a"); }, "t.toml:1: a", "(no quotes), found text");
  fails(
      "a = 1", [](const TomlTable& t) { t.table("a"); }, "t.toml:1: a", "a table, found number");
  fails(
      "a = 1", [](const TomlTable& t) { t.tables("a"); }, "t.toml:1: a", "an array, found number");
  fails(
      "a = [1]", [](const TomlTable& t) { t.tables("a"); }, "t.toml:1: a", "tables, found number");
  fails(
      "a = [1, \"b\"]", [](const TomlTable& t) { t.numbers("a"); }, "t.toml:1: a", "found text");
  fails(
      "a = [1]", [](const TomlTable& t) { t.texts("a"); }, "t.toml:1: a", "found number");
}

TEST(StrictToml, RangesAndNotNumbers) {
  const auto positive = [](const TomlTable& t) { t.number("a", kPositive); };
  fails("a = 0", positive, "t.toml:1: a", "above 0, found 0");
  fails("a = -3", positive, "t.toml:1: a", "found -3");
  fails(
      "a = nan", [](const TomlTable& t) { t.number("a"); }, "t.toml:1: a", "found nan");
  fails("a = inf", positive, "t.toml:1: a", "found inf");
  fails(
      "a = 1.5", [](const TomlTable& t) { t.number("a", kFraction); }, "t.toml:1: a", "from 0 to 1, found 1.5");
  fails(
      "a = -1", [](const TomlTable& t) { t.integer("a", kNotNegative); }, "t.toml:1: a", "at least 0");
  fails(
      "a = [1, -1]", [](const TomlTable& t) { t.numbers("a", kNotNegative); }, "t.toml:1: a", "found -1");
  EXPECT_EQ(toml("a = 0").number("a", kNotNegative), 0);
  EXPECT_EQ(toml("a = 1").number("a", kFraction), 1);
}

TEST(StrictToml, ChoicesSuggest) {
  const auto read = [](const TomlTable& t) { t.choice("mode", {"fused", "eager"}); };
  fails("mode = \"fusd\"", read, "t.toml:1: mode", "did you mean 'fused'?");
  EXPECT_EQ(toml("mode = \"eager\"").choice("mode", {"fused", "eager"}), "eager");
}

TEST(StrictToml, InlineTablesAreTables) {
  const TomlTable t = toml("price = { value = 3, source = \"s\" }\nlots = [{ gpus = 1 }, { gpus = 2 }]\n");
  EXPECT_EQ(t.shape("price"), "table");
  EXPECT_EQ(t.table("price").number("value"), 3);
  EXPECT_EQ(t.tables("lots")[1].integer("gpus"), 2);
  EXPECT_THROW(t.finish(), InputError);  // price.source was not asked for
  EXPECT_EQ(t.table("price").text("source"), "s");
  EXPECT_EQ(t.tables("lots")[0].integer("gpus"), 1);
  EXPECT_NO_THROW(t.finish());
}

TEST(StrictToml, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_THAT([] { toml("a = 1\nb = = 2\n"); }, ThrowsMessage<InputError>(HasSubstr("t.toml:2:")));
  EXPECT_THAT([] { toml("a = 1\na = 2\n"); }, ThrowsMessage<InputError>(HasSubstr("t.toml:2:")));
  EXPECT_THAT([] { toml("[open\n"); }, ThrowsMessage<InputError>(HasSubstr("not TOML")));
  EXPECT_THAT([] { toml("a = \"never closed"); }, ThrowsMessage<InputError>(HasSubstr("t.toml:1:")));
}

TEST(StrictToml, Files) {
  EXPECT_THAT([] { read_toml("/nowhere/plan.toml"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("/nowhere/plan.toml"), HasSubstr("cannot be opened"))));
  const std::string path = (std::filesystem::temp_directory_path() / "farscale-strict-toml-test.toml").string();
  std::ofstream(path) << "a = 7\n";
  const TomlTable t = read_toml(path);
  EXPECT_EQ(t.integer("a"), 7);
  EXPECT_EQ(t.where("a"), path + ":1");
  std::filesystem::remove(path);
  EXPECT_THROW(read_toml(std::filesystem::temp_directory_path().string()), InputError);
}

}  // namespace
}  // namespace farscale
