// Gradient buckets, held to what PyTorch's reducer made of the same networks.
#include <gmock/gmock.h>

#include <numeric>

#include "kernels/error.h"
#include "workloads/tests/text.h"

namespace farscale {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

std::vector<int64_t> bucket_bytes(const Workload& workload, const LoweringOptions& options) {
  std::vector<int64_t> bytes;
  for (const Bucket& bucket : lower(workload, options).buckets) bytes.push_back(bucket.bytes);
  return bytes;
}

std::vector<int64_t> bucket_bytes(const Workload& workload, const std::string& rule = "pytorch", double size = 0) {
  LoweringOptions options;
  options.layout.dp = 8;
  options.bucket_rule = rule;
  options.bucket_bytes = size;
  return bucket_bytes(workload, options);
}

void expect_megabytes(const std::vector<int64_t>& bytes, const std::vector<double>& megabytes) {
  ASSERT_EQ(bytes.size(), megabytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) EXPECT_NEAR(double(bytes[i]) / 1e6, megabytes[i], 0.0501) << i;
}

// rebuilt_bucket_sizes of DistributedDataParallel's logging data after three steps of torchvision 0.14.1's networks:
// PyTorch 1.13.1, Debian 12's packages, gloo, one rank, default settings.
TEST(Buckets, AreThoseOfPyTorch) {
  EXPECT_THAT(bucket_bytes(load_workload("resnet50")),
              ElementsAreArray({8196000, 31502336, 26255360, 26550272, 9724160}));
  EXPECT_THAT(bucket_bytes(resnext("[3, 4, 6, 3]", 32, 4)),
              ElementsAreArray({8196000, 26394624, 26394624, 27918336, 11212032}));
  EXPECT_THAT(bucket_bytes(resnext("[3, 4, 23, 3]", 32, 8)),
              ElementsAreArray({8196000, 38322176, 38322176, 29933568, 27590656, 28778496, 28778496, 28778496, 28778496,
                                28778496, 28778496, 26681344, 13448448}));
  EXPECT_THAT(bucket_bytes(regnet_y_8gf()),
              ElementsAreArray({8068000, 31216640, 26962432, 26363008, 26960640, 26880896, 11074272}));
  EXPECT_THAT(bucket_bytes(regnet_y_16gf()),
              ElementsAreArray({12100000, 36602496, 34607888, 29026704, 26262544, 26262544, 28200480, 26262544,
                                26262544, 28200480, 26262544, 27275584, 7034208}));
  EXPECT_THAT(bucket_bytes(regnet_y_32gf()),
              ElementsAreArray({14852000, 55145472, 41382768, 41396224, 31042992, 31042992, 31042992, 31042992,
                                31042992, 31042992, 31042992, 31042992, 31042992, 31042992, 31042992, 29115768,
                                30088776, 26666344, 66816}));
  std::vector<int64_t> vit = {4100000};
  for (int i = 0; i < 12; ++i) vit.insert(vit.end(), {33583104, 33591296, 33595392});
  vit.push_back(3969024);
  EXPECT_THAT(bucket_bytes(load_workload("vit-l16")), ElementsAreArray(vit));
}

// Sixteen buckets of the default workload, in MB; the fifth holds a single tensor of 36.6 MB.
TEST(Buckets, OfTheDefaultWorkload) {
  expect_megabytes(bucket_bytes(load_workload("hydranet-regnety16gf")),
                   {1.3, 26.4, 27.1, 26.4, 51.9, 34.6, 29.0, 26.3, 26.3, 28.2, 26.3, 26.3, 28.2, 26.3, 27.3, 7.0});
}

// The third bucket holds the table of 200 x 200 x 256 (41 MB), which is never split. An independent sketch of this
// network had 1.2, 26.7, 57.9, 26.7, 27.2, 28.5, 3 x 28.2 and 21.8 MB: every one of its buckets ends within one tensor
// of ours, whose order of layers is the file's.
TEST(Buckets, OfBevformerHoldTheMapsTableWhole) {
  const std::vector<int64_t> bytes = bucket_bytes(load_workload("bevformer-base"));
  expect_megabytes(bytes, {1.1, 26.3, 58.4, 26.8, 31.4, 26.7, 27.2, 26.9, 28.2, 21.8});
  const double sketch[] = {1.2, 26.7, 57.9, 26.7, 27.2, 28.5, 28.2, 28.2, 28.2, 21.8};
  constexpr double kTensor = 4.7;  // a 1x1 of 512 x 2048 in fp32, and the sketch's rounding
  double ours = 0, theirs = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_NEAR(ours += double(bytes[i]) / 1e6, theirs += sketch[i], kTensor) << i;
  }
}

// Head and first matrix; of each of the trunk's 24 layers its three large buckets; the merger; the encoder's 24 layers
// in buckets of two matrices.
TEST(Buckets, CloseWhenAtLeastFull) {
  const Workload workload = load_workload("e2e-video-transformer-1b");
  const std::vector<int64_t> bytes = bucket_bytes(workload);
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}), int64_t(workload.gradient_bytes()));
  for (size_t i = 1; i + 1 < bytes.size(); ++i) EXPECT_GE(bytes[i], 25 << 20);
  // An earlier sketch of this shape counted 107; its list (1 + 36 + 31 + 23 + 8 + 1 buckets) holds 3.80 of the 4.08 GB.
  std::vector<double> megabytes = {25.2};
  for (int i = 0; i < 24; ++i) megabytes.insert(megabytes.end(), {50.3, 28.3, 34.6});
  megabytes.insert(megabytes.end(), {50.4, 67.1});
  megabytes.insert(megabytes.end(), 36, 33.6);
  megabytes.push_back(8.1);
  expect_megabytes(bytes, megabytes);
}

TEST(Buckets, AHandSetSizeHoldsForTheFirstToo) {
  const std::vector<int64_t> bytes = bucket_bytes(load_workload("resnet50"), "pytorch", 50.0 * 1024 * 1024);
  EXPECT_GE(bytes[0], 50 << 20);
  EXPECT_EQ(bytes.size(), 2U);
}

// Megatron: max(40 M, 1 M x ranks) elements; DeepSpeed: 500 M elements, a bucket is flushed before it would overflow.
TEST(Buckets, OtherRules) {
  const Workload llama = load_workload("llama3-8b");
  LoweringOptions options;
  options.layout.dp = 64;
  options.bucket_rule = "megatron";
  const auto megatron = bucket_bytes(llama, options);
  for (size_t i = 0; i + 1 < megatron.size(); ++i) EXPECT_GE(megatron[i], int64_t{64'000'000} * 4);
  options.bucket_rule = "deepspeed";
  for (const int64_t bytes : bucket_bytes(llama, options)) {
    const bool one_tensor = bytes == int64_t{128256} * 4096 * 4;
    EXPECT_TRUE(bytes <= int64_t{500'000'000} * 4 || one_tensor) << bytes;
  }
  options.bucket_rule = "torch";
  EXPECT_THAT([&] { lower(llama, options); }, testing::ThrowsMessage<InputError>(HasSubstr("pytorch")));
}

TEST(Buckets, OneBucketIsWarnedAbout) {
  const Workload workload = load_workload("resnet50");
  LoweringOptions options;
  options.layout.dp = 8;
  EXPECT_TRUE(lower(workload, options).warnings.empty());
  options.bucket_rule = "deepspeed";  // 500 M elements hold all of ResNet-50
  const LoweredStep step = lower(workload, options);
  ASSERT_EQ(step.buckets.size(), 1U);
  ASSERT_EQ(step.warnings.size(), 1U);
  EXPECT_THAT(step.warnings[0], HasSubstr("one gradient bucket"));
  options.layout.dp = 1;  // nothing to communicate, nothing to warn about
  EXPECT_TRUE(lower(workload, options).warnings.empty());
}

// A bucket may start only when the task that makes its last gradient is done, and they come in that order.
TEST(Buckets, FollowTheirGradients) {
  const LoweredStep step = lowered(load_workload("hydranet-regnety16gf"), "dp=8");
  int64_t ready = 0, sent = 0;
  size_t task = 0;
  for (const Bucket& bucket : step.buckets) {
    ASSERT_GE(bucket.ready_after + 1, task);
    for (; task <= bucket.ready_after; ++task) ready += step.tasks[task].gradient_bytes;
    sent += bucket.bytes;
    EXPECT_LE(sent, ready);
  }
  EXPECT_EQ(sent, ready);
}

}  // namespace
}  // namespace farscale
