#include "kernels/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace farscale {
namespace {

using testing::HasSubstr;

// A product in fp32 by plain loops, as a kernel under test would deliver it.
struct Product {
  GemmProblem problem;
  std::vector<float> a, b, c;

  explicit Product(const GemmProblem& p)
      : problem(p), a(p.m * p.k * p.batch), b(p.k * p.n * p.batch), c(p.m * p.n * p.batch) {
    fill(NumberType::kFp32, a.data(), {.count = int64_t(a.size())}, InputData::kNormal, 1);
    fill(NumberType::kFp32, b.data(), {.count = int64_t(b.size())}, InputData::kNormal, 2);
    for (int64_t item = 0; item < p.batch; ++item) multiply(item);
  }

  void multiply(int64_t item) {
    const GemmProblem& p = problem;
    const float* x = a.data() + item * p.m * p.k;
    const float* y = b.data() + item * p.k * p.n;
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        float sum = 0;
        for (int64_t l = 0; l < p.k; ++l) {
          sum += (p.transpose_a ? x[l * p.m + i] : x[i * p.k + l]) * (p.transpose_b ? y[j * p.k + l] : y[l * p.n + j]);
        }
        c[(item * p.m + i) * p.n + j] = sum;
      }
    }
  }

  Verdict check() const {
    const GemmOperands operands{.a = a.data(),
                                .b = b.data(),
                                .c = c.data(),
                                .decode_inputs = decoder(NumberType::kFp32),
                                .decode_output = decoder(NumberType::kFp32)};
    return check_gemm(problem, operands, {.sum = 0x1p-24}, 3);
  }
};

TEST(DotErrorFactor, IsTheSmallerOfTheCertainAndTheLikelyBound) {
  const GemmRounding fp32{.sum = 0x1p-24};
  EXPECT_DOUBLE_EQ(dot_error_factor(fp32, 1), 0x1p-24 / (1 - 0x1p-24));
  EXPECT_NEAR(dot_error_factor(fp32, 10'000), 10 * 100 * 0x1p-24, 1e-8);
  EXPECT_NEAR(dot_error_factor({.sum = 0x1p-24, .random_walk = false}, 10'000), 10'000 * 0x1p-24, 1e-6);
  EXPECT_EQ(dot_error_factor({.sum = 0}, 1000), 0);
  EXPECT_LE(dot_error_factor({.sum = 0x1p-3, .random_walk = false}, 1'000'000), 1);
}

TEST(CheckGemm, AcceptsSmallAndLargeProducts) {
  for (const bool transpose : {false, true}) {
    const Product small({.m = 17, .n = 9, .k = 33, .batch = 3, .transpose_a = transpose, .transpose_b = !transpose});
    const Verdict whole = small.check();
    EXPECT_TRUE(whole.correct) << whole.detail;
    EXPECT_GT(whole.worst_error, 0);  // fp32 is not exact: a check that saw nothing would say 0
    EXPECT_THAT(whole.detail, HasSubstr("all 459 entries"));
    const Product large({.m = 300, .n = 250, .k = 260, .transpose_a = transpose, .transpose_b = transpose});
    const Verdict sampled = large.check();
    EXPECT_TRUE(sampled.correct) << sampled.detail;
    EXPECT_GT(sampled.worst_error, 0);
    EXPECT_THAT(sampled.detail, HasSubstr("300 rows and 250 columns"));
  }
}

TEST(CheckGemm, CatchesOneWrongEntryOfASmallProduct) {
  Product product({.m = 40, .n = 30, .k = 64});
  product.c[7 * 30 + 11] += 1e-3F;
  const Verdict verdict = product.check();
  EXPECT_FALSE(verdict.correct);
  EXPECT_GT(verdict.worst_error, verdict.bound);
  EXPECT_THAT(verdict.detail, HasSubstr("C[7,11]"));
}

TEST(CheckGemm, CatchesOneWrongEntryOfALargeProductByItsChecksums) {
  for (const int64_t place : {0L, 12'345L, 300L * 250 - 1}) {
    Product product({.m = 300, .n = 250, .k = 260});
    product.c[place] += 0.5F;  // entries are of the order of sqrt(k) = 16
    EXPECT_FALSE(product.check().correct) << place;
  }
}

TEST(CheckGemm, CatchesWhatIsNotANumberSwappedOrMissing) {
  Product product({.m = 300, .n = 250, .k = 260});
  Product nan = product, swapped = product, missing = product, stale = product;
  nan.c[54'321] = std::nanf("");
  std::swap(swapped.c[1000], swapped.c[1001]);
  for (int64_t i = 100; i < 116; ++i) std::fill_n(missing.c.begin() + i * 250 + 32, 16, 0.0F);  // a tile
  stale.a[5] += 1;
  EXPECT_FALSE(nan.check().correct);
  EXPECT_TRUE(std::isfinite(nan.check().worst_error));
  EXPECT_FALSE(swapped.check().correct);
  EXPECT_FALSE(missing.check().correct);
  EXPECT_FALSE(stale.check().correct);
}

TEST(CheckGemm, LooksAtEveryBatchItem) {
  Product product({.m = 20, .n = 20, .k = 20, .batch = 5});
  product.c.back() += 1;
  EXPECT_FALSE(product.check().correct);
  EXPECT_THAT(product.check().detail, HasSubstr("batch item 4"));
}

CollectiveProblem collective(CollectiveKind kind, NumberType type, int ranks) {
  return {.kind = kind,
          .bytes = 1200L * ranks * static_cast<int64_t>(bytes_per_element(type)),
          .type = type,
          .ranks = ranks};
}

// What all ranks together would deliver, by the plainest loops, from what the pattern says they send.
double by_hand(const CollectivePattern& pattern, const CollectiveProblem& problem, int rank, int64_t i,
               int missing = -1) {
  const int64_t part = pattern.send_elements() / (problem.kind == CollectiveKind::kAllGather ? 1 : problem.ranks);
  const int64_t at = problem.kind == CollectiveKind::kReduceScatter ? rank * part + i : i;
  double sum = 0;
  for (int r = 0; r < problem.ranks; ++r) sum += r == missing ? 0 : pattern.sent(r, at);
  return problem.type == NumberType::kInt8 ? static_cast<int8_t>(static_cast<uint8_t>(static_cast<int>(sum))) : sum;
}

TEST(CollectivePattern, SumsAreExactAndNoRankCanBeMissing) {
  for (const int ranks : {1, 2, 4, 100, 300}) {
    for (const NumberType type : {NumberType::kFp32, NumberType::kBf16, NumberType::kInt8}) {
      for (const CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter}) {
        const CollectiveProblem problem = collective(kind, type, ranks);
        const CollectivePattern pattern(problem);
        const int rank = ranks - 1;
        std::vector<bool> missed(static_cast<size_t>(ranks), false);
        for (int64_t i = 0; i < 50; ++i) {
          ASSERT_EQ(pattern.expected(rank, i), by_hand(pattern, problem, rank, i)) << problem.name();
          ASSERT_LE(type == NumberType::kBf16 ? pattern.expected(rank, i) : 0, 256);
          for (int r = 0; r < ranks; ++r) {
            if (by_hand(pattern, problem, rank, i, r) != pattern.expected(rank, i)) missed[r] = true;
          }
        }
        EXPECT_EQ(std::count(missed.begin(), missed.end(), false), 0) << problem.name();
      }
    }
  }
}

// Every partial sum, in whatever order, is an integer the type has.
TEST(CollectivePattern, Fp8SumsStayWhereTheTypeCounts) {
  for (const auto& [type, most] : {std::pair{NumberType::kFp8E4M3, 16.0}, {NumberType::kFp8E5M2, 8.0}}) {
    for (const int ranks : {1, 2, 8, 24}) {
      const CollectivePattern pattern(collective(CollectiveKind::kAllReduce, type, ranks));
      std::vector<bool> missed(static_cast<size_t>(ranks), false);
      for (int64_t i = 0; i < 200; ++i) {
        ASSERT_LE(pattern.expected(0, i), most);
        for (int r = 0; r < ranks; ++r)
          missed[static_cast<size_t>(r)] = missed[static_cast<size_t>(r)] || pattern.sent(r, i) > 0;
      }
      EXPECT_EQ(std::count(missed.begin(), missed.end(), false), 0) << ranks;
      const CollectivePattern moved(collective(CollectiveKind::kBroadcast, type, ranks));
      for (int64_t i = 0; i < 50; ++i) ASSERT_LE(std::abs(moved.sent(0, i)), most);
    }
  }
}

TEST(CollectivePattern, MovedDataComesFromWhereItShould) {
  const CollectiveProblem gather = collective(CollectiveKind::kAllGather, NumberType::kFp32, 4);
  const CollectiveProblem exchange = collective(CollectiveKind::kAllToAll, NumberType::kFp32, 4);
  const CollectivePattern gathered(gather), exchanged(exchange);
  EXPECT_EQ(gathered.send_elements(), 1200);
  EXPECT_EQ(gathered.receive_elements(), 4800);
  EXPECT_EQ(gathered.expected(0, 2 * 1200 + 5), gathered.sent(2, 5));
  EXPECT_EQ(exchanged.expected(3, 1 * 1200 + 5), exchanged.sent(1, 3 * 1200 + 5));
  EXPECT_NE(gathered.sent(1, 5), gathered.sent(2, 5));
}

TEST(CollectivePattern, CheckSeesOneWrongElement) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    const CollectiveProblem problem = collective(kind, NumberType::kFp32, 4);
    const CollectivePattern pattern(problem);
    std::vector<float> received(static_cast<size_t>(pattern.receive_elements()));
    for (size_t i = 0; i < received.size(); ++i) received[i] = static_cast<float>(pattern.expected(2, int64_t(i)));
    EXPECT_TRUE(pattern.check(2, received.data()).correct);
    if (kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllToAll) {
      EXPECT_FALSE(pattern.check(1, received.data()).correct) << "another rank's result";
    }
    received.back() += 1;
    const Verdict verdict = pattern.check(2, received.data());
    EXPECT_FALSE(verdict.correct);
    EXPECT_THAT(verdict.detail, HasSubstr("(1 of "));
  }
}

TEST(AdamW, OneStepByHand) {
  double p = 2, m = 0.5, v = 4, g = 1;
  adamw_update(p, m, v, g, AdamWStep<double>{.inverse_root_bias2 = 1});
  EXPECT_DOUBLE_EQ(m, 0.9 * 0.5 + 0.1 * 1);
  EXPECT_NEAR(v, 0.999 * 4 + 0.001 * 1, 1e-15);
  EXPECT_NEAR(p, 2 * (1 - 1e-3 * 0.01) - 1e-3 * m / (std::sqrt(v) + 1e-8), 1e-15);
}

}  // namespace
}  // namespace farscale
