// Quantities: reading with evidence, draws through the percentiles.
#include "cluster/quantity.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "kernels/strict_toml.h"

namespace farscale {
namespace {

Quantity parse(const std::string& text, Range range = kPositive) {
  return read_quantity(parse_toml(fmt::format("x = {}\n", text), "a.toml"), "x", range);
}

std::string message(const std::string& text) {
  try {
    parse(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Quantity, DrawsPassThroughItsPercentiles) {
  const Quantity q = parse("{ low = 1, value = 2, high = 8, source = 'assumption: x' }");
  EXPECT_NEAR(q.at(0.05), 1, 1e-9);
  EXPECT_NEAR(q.at(0.5), 2, 1e-9);
  EXPECT_NEAR(q.at(0.95), 8, 1e-9);
  EXPECT_GT(q.at(1e-9), 0);  // lognormal below: never negative
  EXPECT_LT(q.at(0.2), q.at(0.3));
  EXPECT_GT(q.at(0.999), 8);
}

TEST(Quantity, DrawsThroughZeroAreLinear) {
  const Quantity q = parse("{ low = 0, value = 1, high = 3, source = 'assumption: x' }", kNotNegative);
  EXPECT_NEAR(q.at(0.05), 0, 1e-9);
  EXPECT_NEAR(q.at(0.95), 3, 1e-9);
}

TEST(Quantity, PointStaysAPoint) {
  const Quantity q = parse("{ value = 5, source = 'data sheet: y' }");
  EXPECT_EQ(q.at(0.01), 5);
  EXPECT_EQ(q.at(0.99), 5);
}

TEST(Quantity, EvidenceComesFromTheSource) {
  EXPECT_EQ(parse("{ value = 5, source = 'data sheet: y' }").evidence, Evidence::kDataSheet);
  EXPECT_EQ(parse("{ value = 5, source = 'measured in run 7' }").evidence, Evidence::kMeasured);
  EXPECT_EQ(parse("{ value = 5, source = 'assumption: y' }").evidence, Evidence::kAssumed);
  EXPECT_EQ(parse("{ value = 5, source = 'https://x' }").evidence, Evidence::kPublished);
  EXPECT_EQ(weakest(Evidence::kMeasured, Evidence::kAssumed), Evidence::kAssumed);
  EXPECT_EQ(letter(Evidence::kDataSheet), 'D');
}

TEST(Quantity, TheWeakerPartOfASourceDecides) {
  EXPECT_EQ(parse("{ value = 5, source = 'Assumption: y' }").evidence, Evidence::kAssumed);
  EXPECT_EQ(parse("{ value = 5, source = 'guess' }").evidence, Evidence::kAssumed);
  EXPECT_EQ(parse("{ value = 5, source = 'Data Sheet: y' }").evidence, Evidence::kDataSheet);
  EXPECT_EQ(parse("{ low = 4, value = 5, high = 6, source = 'Smith 2024; range assumed' }").evidence,
            Evidence::kAssumed);
  EXPECT_EQ(parse("{ low = 4, value = 5, high = 6, source = 'Smith 2024' }").evidence, Evidence::kPublished);
  EXPECT_EQ(parse("{ value = 5, source = 'Smith 2024; range assumed' }").evidence, Evidence::kPublished);
}

TEST(Quantity, ASourceMustSaySomething) {
  for (const char* blank : {"{ value = 5, source = '' }", "{ value = 5, source = '  ' }"})
    EXPECT_THAT(message(blank), testing::AllOf(testing::HasSubstr("a.toml:1"), testing::HasSubstr("is empty")));
}

TEST(Quantity, BadInputSaysWhatIsMissing) {
  EXPECT_THAT(message("{ value = 5 }"), testing::HasSubstr("no source"));
  EXPECT_THAT(message("5"), testing::HasSubstr("a.toml:1"));
  EXPECT_THAT(message("5"), testing::HasSubstr("evidence"));
  EXPECT_THAT(message("{ low = 6, value = 5, source = 'x' }"), testing::HasSubstr("low <= value <= high"));
  EXPECT_THAT(message("{ value = -5, source = 'x' }"), testing::HasSubstr("a.toml:1"));
}

}  // namespace
}  // namespace farscale
