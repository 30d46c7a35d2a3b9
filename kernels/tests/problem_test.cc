// Problems: counts, names, checks, parsing, and the bus table against its closed forms.
#include "kernels/problem.h"

#include <gmock/gmock.h>

#include "kernels/error.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Gemm, Counts) {
  const GemmProblem p{.m = 2, .n = 3, .k = 5, .batch = 7, .type = NumberType::kBf16};
  EXPECT_EQ(p.flops(), 2.0 * 2 * 3 * 5 * 7);
  EXPECT_EQ(p.bytes(), 2.0 * 7 * (10 + 15 + 6));
}

// 2,457,600 x 224 x 32 batch 11 overflows 32 bits everywhere and 64 bits nowhere; 2^31-sized products pass 2^63.
TEST(Gemm, CountsDoNotOverflow) {
  const GemmProblem p{.m = 2147483647, .n = 2147483647, .k = 2147483647};
  EXPECT_NEAR(p.flops(), 2 * 9.903520300447984e27, 1e15);
  EXPECT_NEAR(p.bytes(), 3 * 4 * 4.611686014132420609e18, 1e4);
}

TEST(Gemm, NamesCarryEverything) {
  GemmProblem p{.m = 1024, .n = 512, .k = 256};
  EXPECT_EQ(p.name(), "gemm/fp32/nn/1024x512x256");
  p.transpose_a = true;
  p.type = NumberType::kFp8E4M3;
  EXPECT_EQ(p.name(), "gemm/fp8_e4m3/tn/1024x512x256");
  p.transpose_b = true;
  EXPECT_EQ(p.layout(), "tt");
  p.transpose_a = false;
  p.batch = 11;
  EXPECT_EQ(p.name(), "gemm/fp8_e4m3/nt/1024x512x256/b11");
}

TEST(Gemm, ValidationNamesTheProblem) {
  EXPECT_NO_THROW((GemmProblem{.m = 1, .n = 1, .k = 1}).validate());
  for (const GemmProblem bad :
       {GemmProblem{.m = 0, .n = 1, .k = 1}, GemmProblem{.m = 1, .n = -4, .k = 1},
        GemmProblem{.m = 1, .n = 1, .k = int64_t{1} << 31}, GemmProblem{.m = 1, .n = 1, .k = 1, .batch = 0}}) {
    EXPECT_THAT([&] { bad.validate(); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(bad.name()), HasSubstr("from 1 to 2147483647"))));
  }
}

TEST(Memory, CountsPerKind) {
  const auto problem = [](MemoryKind kind, NumberType type) {
    return MemoryProblem{.kind = kind, .elements = 1000, .type = type};
  };
  EXPECT_EQ(problem(MemoryKind::kCopy, NumberType::kFp32).bytes(), 2 * 4000);
  EXPECT_EQ(problem(MemoryKind::kTriad, NumberType::kFp64).bytes(), 3 * 8000);
  EXPECT_EQ(problem(MemoryKind::kAdamW, NumberType::kFp32).bytes(), 7 * 4000);
  EXPECT_EQ(problem(MemoryKind::kCopy, NumberType::kFp4).bytes(), 2 * 500);
  EXPECT_EQ(problem(MemoryKind::kCopy, NumberType::kFp32).flops(), 0);
  EXPECT_EQ(problem(MemoryKind::kTriad, NumberType::kFp32).flops(), 2000);
  EXPECT_GT(problem(MemoryKind::kAdamW, NumberType::kFp32).flops(), 10000);
}

TEST(Memory, NamesAndChecks) {
  EXPECT_EQ((MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 16777216}).name(), "memory/adamw/fp32/16777216");
  EXPECT_THROW((MemoryProblem{.elements = 0}).validate(), InputError);
  EXPECT_THROW((MemoryProblem{.elements = (int64_t{1} << 40) + 1}).validate(), InputError);
  EXPECT_NO_THROW((MemoryProblem{.elements = int64_t{1} << 40}).validate());
}

TEST(Collective, NamesAndChecks) {
  CollectiveProblem p{.kind = CollectiveKind::kReduceScatter, .bytes = 1048576, .ranks = 4};
  EXPECT_EQ(p.name(), "collective/reduce_scatter/fp32/1048576B/4ranks");
  p.in_place = true;
  EXPECT_EQ(p.name(), "collective/reduce_scatter/fp32/1048576B/4ranks/in_place");
  EXPECT_NO_THROW(p.validate());
  p.bytes = 1048576 + 4;  // whole elements, but not as many for each rank
  EXPECT_THAT([&] { p.validate(); }, ThrowsMessage<InputError>(HasSubstr("multiples of 16")));
  p.kind = CollectiveKind::kAllReduce;
  EXPECT_NO_THROW(p.validate());
  p.bytes = 6;
  EXPECT_THAT([&] { p.validate(); }, ThrowsMessage<InputError>(HasSubstr("multiples of 4")));
  p = {.bytes = 4, .ranks = 0};
  EXPECT_THROW(p.validate(), InputError);
  p = {.bytes = 0};
  EXPECT_THROW(p.validate(), InputError);
  p = {.bytes = (int64_t{1} << 40) + 4};
  EXPECT_THROW(p.validate(), InputError);
}

TEST(Collective, KindsParseAndSuggest) {
  for (CollectiveKind kind : kCollectiveKinds) EXPECT_EQ(parse_collective_kind(name(kind)), kind);
  for (MemoryKind kind : kMemoryKinds) EXPECT_EQ(parse_memory_kind(name(kind)), kind);
  EXPECT_THAT([] { parse_collective_kind("allreduce"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("did you mean 'all_reduce'?"), HasSubstr("all_to_all"))));
  EXPECT_THAT([] { parse_memory_kind("adam"); },
              ThrowsMessage<InputError>(HasSubstr("did you mean 'adamw' or 'adamw_multi'?")));
  EXPECT_THAT([] { parse_memory_kind("zzzzz"); }, ThrowsMessage<InputError>(Not(HasSubstr("did you mean"))));
}

// Every row of nccl-tests' table (doc/PERFORMANCE.md), over ranks.
TEST(BusTable, ClosedForms) {
  for (const int n : {1, 2, 3, 8, 16384}) {
    EXPECT_DOUBLE_EQ(bus_factor(CollectiveKind::kAllReduce, n), 2.0 * (n - 1) / n);
    EXPECT_DOUBLE_EQ(bus_factor(CollectiveKind::kReduceScatter, n), (n - 1.0) / n);
    EXPECT_DOUBLE_EQ(bus_factor(CollectiveKind::kAllGather, n), (n - 1.0) / n);
    EXPECT_DOUBLE_EQ(bus_factor(CollectiveKind::kAllToAll, n), (n - 1.0) / n);
    EXPECT_DOUBLE_EQ(bus_factor(CollectiveKind::kBroadcast, n), 1);
  }
  EXPECT_LT(bus_factor(CollectiveKind::kAllReduce, 300000), 2);
  EXPECT_GT(bus_factor(CollectiveKind::kAllReduce, 300000), 1.99999);
}

// A row nccl-tests printed itself (8 x H100, 8 GiB float all-reduce): 31307 us, busbw 480.16 GB/s.
TEST(BusTable, AgreesWithAPrintedRow) {
  const CollectiveProblem p{.bytes = 8589934592, .ranks = 8};
  EXPECT_NEAR(bus_bandwidth(p, 31307e-6) / 1e9, 480.16, 0.02);
}

TEST(AnyProblem, NameAndValidateGoThroughTheVariant) {
  const Problem gemm = GemmProblem{.m = 1, .n = 2, .k = 3}, memory = MemoryProblem{.elements = 0};
  EXPECT_EQ(name(gemm), "gemm/fp32/nn/1x2x3");
  EXPECT_NO_THROW(validate(gemm));
  EXPECT_THROW(validate(memory), InputError);
  EXPECT_NE(gemm, memory);
}

}  // namespace
}  // namespace farscale
