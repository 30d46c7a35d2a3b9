// Numbers for people, and tables.
#include "kernels/format.h"

#include <gmock/gmock.h>

#include <limits>

namespace farscale {
namespace {

TEST(FormatSi, ThreeDigitsAndPrefixes) {
  EXPECT_EQ(format_si(989e12, "FLOP/s"), "989 TFLOP/s");
  EXPECT_EQ(format_si(3.35e12, "B/s"), "3.35 TB/s");
  EXPECT_EQ(format_si(450e9, "B/s"), "450 GB/s");
  EXPECT_EQ(format_si(12.345, "x"), "12.3 x");
  EXPECT_EQ(format_si(1, "W"), "1.00 W");
  EXPECT_EQ(format_si(4.2e-6, "s"), "4.20 µs");
  EXPECT_EQ(format_si(2.5e20, "FLOP"), "250 EFLOP");
  EXPECT_EQ(format_si(-1500, "W"), "-1.50 kW");
}

// Rounding must never show 1000 of a unit, nor four digits.
TEST(FormatSi, RoundingCarriesToTheNextPrefix) {
  EXPECT_EQ(format_si(999.6, "W"), "1.00 kW");
  EXPECT_EQ(format_si(999.4, "W"), "999 W");
  EXPECT_EQ(format_si(999.6e9, "B/s"), "1.00 TB/s");
  EXPECT_EQ(format_si(0.9996, "s"), "1.00 s");
  EXPECT_EQ(format_si(9.996, "s"), "10.0 s");
  EXPECT_EQ(format_si(99.96, "s"), "100 s");
}

TEST(FormatSi, ZeroExtremesAndNotNumbers) {
  EXPECT_EQ(format_si(0, "B/s"), "0 B/s");
  EXPECT_EQ(format_si(1e-15, "s"), "0.00 ps");
  EXPECT_EQ(format_si(5e26, "x"), "500 Yx");
  EXPECT_EQ(format_si(std::numeric_limits<double>::infinity(), "s"), "inf s");
  EXPECT_EQ(format_si(std::numeric_limits<double>::quiet_NaN(), "s"), "nan s");
}

TEST(FormatSeconds, FromPicosecondsToDays) {
  EXPECT_EQ(format_seconds(1.234e-3), "1.23 ms");
  EXPECT_EQ(format_seconds(59), "59.0 s");
  EXPECT_EQ(format_seconds(119), "119 s");
  EXPECT_EQ(format_seconds(180), "3.00 min");
  EXPECT_EQ(format_seconds(7200), "2.00 h");
  EXPECT_EQ(format_seconds(86400 * 54), "54.0 d");
  EXPECT_EQ(format_seconds(0), "0 s");
}

TEST(FormatBytes, PowersOf1024) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1 KiB");
  EXPECT_EQ(format_bytes(25.0 * 1048576), "25 MiB");
  EXPECT_EQ(format_bytes(80e9), "74.5 GiB");
}

TEST(FormatCount, Thousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(300000), "300,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
}

TEST(FormatPercent, OneDigit) {
  EXPECT_EQ(format_percent(0.8134), "81.3 %");
  EXPECT_EQ(format_percent(1), "100.0 %");
  EXPECT_EQ(format_percent(-0.02), "-2.0 %");
}

TEST(Width, CountsCharactersNotBytes) {
  EXPECT_EQ(display_width(""), 0u);
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("4.20 µs"), 7u);
  EXPECT_EQ(display_width("x … y"), 5u);
}

TEST(Table, NumbersRightTextLeft) {
  TextTable table({"case", "time", "note"});
  table.add({"a", "1.23 ms", "-"});
  table.add({"long name", "12.3 ms", "fast"});
  EXPECT_EQ(table.str(),
            "case          time  note\n"
            "a          1.23 ms  -\n"
            "long name  12.3 ms  fast\n");
}

TEST(Table, AlignsWithCharactersOfSeveralBytes) {
  TextTable table({"time", "unit"});
  table.add({"4.20 µs", "one"});
  table.add({"40.20 ms", "two"});
  EXPECT_EQ(table.str(),
            "    time  unit\n"
            " 4.20 µs  one\n"
            "40.20 ms  two\n");
}

TEST(Table, ShortRowsAndNoTrailingBlanks) {
  TextTable table({"a", "b"});
  EXPECT_TRUE(table.empty());
  table.add({"x"});
  EXPECT_FALSE(table.empty());
  EXPECT_EQ(table.str().find(" \n"), std::string::npos);
  EXPECT_EQ(table.str().back(), '\n');
}

}  // namespace
}  // namespace farscale
