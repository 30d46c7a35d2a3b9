// Parameters and FLOPs held to what their sources publish. GMAC is half of FLOPs.
#include <gtest/gtest.h>

#include <cmath>

#include "workloads/tests/text.h"

namespace farscale {
namespace {

void near(double found, double published, double tolerance, const std::string& what) {
  EXPECT_LE(std::abs(found / published - 1), tolerance) << what << ": " << found << " against " << published;
}

double gmac(const Workload& workload) { return workload.forward_flops_per_sample() / 2e9; }

// torchvision's model pages.
TEST(Counts, RegNetIsTorchvisions) {
  EXPECT_EQ(regnet_y_8gf().parameters(), 39'381'472);
  EXPECT_EQ(regnet_y_16gf().parameters(), 83'590'140);
  EXPECT_EQ(regnet_y_32gf().parameters(), 145'046'770);
  near(gmac(regnet_y_8gf()), 8.47, 0.001, "8GF");
  near(gmac(regnet_y_16gf()), 15.91, 0.001, "16GF");
  near(gmac(regnet_y_32gf()), 32.28, 0.001, "32GF");
}

// Conv activations, in millions of values.
double activations(const Workload& workload) {
  const Graph& graph = workload.data().graph;
  double values = 0;
  for (const Layer& layer : graph.layers) {
    const bool convolution = layer.op == Op::kConvolution || (layer.op == Op::kLinear && layer.name != "fc");
    if (convolution) values += double(graph.shape(layer.output).elements());
  }
  return values / 1e6;
}

// At 224 x 224: pycls' MODEL_ZOO, in its rounding of widths. RegNetY-8GF is another network there than torchvision's:
// its first stage is 168 wide, not 224.
TEST(Counts, RegNetIsPycls) {
  near(activations(regnet_y_16gf()), 23.0, 0.002, "16GF");
  near(activations(regnet_y_32gf()), 30.3, 0.002, "32GF");
  const Workload small = regnet("depth=17\nw0=192\nwa=76.82\nwm=2.19\ngroup_width=56\nrounding=\"pycls\"\n");
  near(double(small.parameters()), 39.18e6, 0.0002, "8GF parameters; 39.2 published");
  near(gmac(small), 7.96, 0.001, "8GF, GMAC; 8.0 published");
  near(activations(small), 17.97, 0.0005, "8GF, activations; 18.0 published");
}

TEST(Counts, ResNetsAreTorchvisions) {
  EXPECT_EQ(load_workload("resnet50").parameters(), 25'557'032);
  near(gmac(load_workload("resnet50")), 4.09, 0.001, "ResNet-50");
  EXPECT_EQ(resnext("[3, 4, 6, 3]", 32, 4).parameters(), 25'028'904);
  near(gmac(resnext("[3, 4, 6, 3]", 32, 4)), 4.23, 0.001, "ResNeXt-50 32x4d");
  EXPECT_EQ(resnext("[3, 4, 23, 3]", 32, 8).parameters(), 88'791'336);
}

TEST(Counts, VitIsTorchvisions) {
  const Workload vit = load_workload("vit-l16");
  EXPECT_EQ(vit.parameters(), 304'326'632);
  near(gmac(vit), 61.55, 0.001, "ViT-L/16");
}

TEST(Counts, DetectorsAreTorchvisions) {
  // torchvision's frozen batch norms are buffers; here they are parameters without gradient.
  constexpr int64_t kBatchNorms = 53'120;
  EXPECT_EQ(load_workload("maskrcnn-r50-fpn").parameters(), 44'401'393 + kBatchNorms);
  const std::string tower =
      "{ op = \"conv\", out = 256, kernel = 3, bias = true, activation = \"relu\", repeat = 4 }, ";
  const std::string levels = "from = [\"neck.p3\", \"neck.p4\", \"neck.p5\", \"neck.p6\", \"neck.p7\"]\n";
  const Workload retinanet = vision(
      "[[layer]]\nid = \"b\"\nop = \"resnet\"\ndepths = [3, 4, 6, 3]\n"
      "[[layer]]\nid = \"neck\"\nop = \"fpn\"\nfrom = [\"b.s2\", \"b.s3\", \"b.s4\"]\nchannels = 256\nlevels = 5\n"
      "[[layer]]\nid = \"classes\"\nop = \"per_level\"\n" +
          levels + "layers = [" + tower +
          "{ op = \"conv\", out = 819, kernel = 3 }]\n[[layer]]\nid = \"boxes\"\nop = \"per_level\"\n" + levels +
          "layers = [" + tower + "{ op = \"conv\", out = 36, kernel = 3 }]\n",
      800);
  EXPECT_EQ(retinanet.parameters(), 34'014'999 + kBatchNorms);
}

// Llama 3's totals; training FLOPs a token follow from the TFLOP/s and tokens/s of Megatron-Bridge's H100 rows.
TEST(Counts, LlamaIsTheReleasedCheckpoints) {
  struct Row {
    const char* name;
    int64_t parameters;
    double gflop_per_token;
  };
  for (const Row& row : {Row{"llama3-8b", 8'030'261'248, 51.50}, Row{"llama3-70b", 70'553'706'496, 449.0},
                         Row{"llama3-405b", 405'853'388'800, 2526.5}}) {
    const Workload llama = load_workload(row.name);
    EXPECT_EQ(llama.parameters(), row.parameters) << row.name;
    near(llama.training_flops_per_sample() / 8192 / 1e9, row.gflop_per_token, 0.002, row.name);
  }
}

// Forward FLOPs of a Llama by hand: 2 per parameter of the matrices and token, and half of 4 s h a token for attention.
TEST(Counts, LlamaClosedForm) {
  constexpr double kWidth = 4096, kLayers = 32, kFfn = 14336, kKeys = 1024, kVocabulary = 128256, kSequence = 8192;
  const double matrices =
      kLayers * (2 * kWidth * kWidth + 2 * kWidth * kKeys + 3 * kWidth * kFfn) + kWidth * kVocabulary;
  const double attention = kLayers * 4 * kSequence * kWidth / 2;
  near(load_workload("llama3-8b").forward_flops_per_sample(), kSequence * (2 * matrices + attention), 1e-12, "8B");
}

// Narayanan et al., arXiv:2104.04473: P = 12lh^2(1 + 13/12h + (V+s)/12lh); 72Bslh^2(1 + s/6h + V/12lh) counts the whole
// attention square, this house half of it.
TEST(Counts, GptClosedForm) {
  constexpr double kWidth = 12288, kLayers = 96, kVocabulary = 51200, kSequence = 2048;
  const Workload gpt = load_workload("gpt3-175b");
  const double parameters =
      12 * kLayers * kWidth * kWidth * (1 + 13 / (12 * kWidth) + (kVocabulary + kSequence) / (12 * kLayers * kWidth));
  EXPECT_EQ(gpt.parameters(), std::llround(parameters) + 2 * std::llround(kWidth));  // and the final norm
  near(double(gpt.parameters()), 174.6e9, 0.001, "published");
  const double flops = 72 * kSequence * kLayers * kWidth * kWidth *
                       (1 + kSequence / (6 * kWidth) + kVocabulary / (12 * kLayers * kWidth));
  const double half_attention = 3 * 2 * kLayers * kSequence * kSequence * kWidth;
  near(flops, 2.2046e15, 0.0001, "the formula's own value");
  near(gpt.training_flops_per_sample() + half_attention, flops, 1e-9, "FLOPs");
}

// Korthikanti et al., arXiv:2205.05198: 34 sbh a layer less 2 sbh of dropout masks; fused attention keeps no scores.
TEST(Counts, GptActivationsOfALayer) {
  constexpr double kWidth = 12288, kSequence = 2048;
  const LoweredStep step = lowered(load_workload("gpt3-175b"), "dp=1");
  const double per_layer = 32 * kSequence * kWidth;
  EXPECT_GT(step.activation_bytes, 96 * per_layer);
  EXPECT_LT(step.activation_bytes, 96 * per_layer * 1.006);  // embeddings and logits
}

TEST(Counts, Gaia) {
  const Workload gaia = load_workload("gaia1-world-model");
  near(double(gaia.parameters()), 6.518e9, 0.002, "parameters");
  near(gaia.forward_flops_per_sample(), 271e12, 0.002, "forward");
  const LoweredStep step = lowered(gaia, "dp=64 zero=2");
  near(step.executed_flops - step.training_flops, step.forward_flops, 0.02, "recomputation");  // all but the head
}

// V-JEPA 2, ViT-g/16: 40 layers of 1408, feed-forward 48/11 of it; "1B".
TEST(Counts, Vjepa) {
  const Workload vit = parse_workload(
      "name = \"t\"\nprovenance = \"proxy\"\nsources = [\"test\"]\n[inputs]\ndepth = 16\nheight = 256\nwidth = 256\n"
      "[[layer]]\nid = \"v\"\nop = \"vit\"\npatch = 16\ntubelet = 2\nwidth = 1408\nposition_table = false\nlayers = "
      "40\n"
      "heads = 22\nffn = 6144\nfinal_norm = true\n",
      "t.toml");
  near(double(vit.parameters()), 1.012e9, 0.002, "parameters");
}

// Alpamayo-R1-10B: Qwen3-VL-8B has 8,767,123,696 parameters; the published checkpoint is 22 GB of 16-bit weights.
TEST(Counts, EndToEnd) {
  const Workload big = load_workload("e2e-video-transformer-10b");
  int64_t expert = 0, qwen = 0;
  for (const Layer& layer : big.data().graph.layers) {
    const bool action = layer.name.starts_with("expert") || layer.name.starts_with("action");
    (action ? expert : qwen) += layer.parameter_count();
  }
  EXPECT_EQ(qwen, 8'767'123'696);
  near(double(expert), 2.28e9, 0.002, "expert");
  near(2 * double(big.parameters()), 22e9, 0.005, "checkpoint");
  near(big.training_flops_per_sample(), 619e12, 0.002, "training");
  const Workload small = load_workload("e2e-video-transformer-1b");
  near(double(small.parameters()), 1.020e9, 0.002, "parameters");
  near(small.forward_flops_per_sample(), 48.2e12, 0.002, "forward");
}

// GMAC of the frame that is trained, all of it and of deformable 3x3 convolutions.
struct FrameWork {
  double all = 0, deformable = 0;
};
FrameWork frame_work(const Workload& bevformer) {
  const Graph& graph = bevformer.data().graph;
  FrameWork work;
  for (const Layer& layer : graph.layers) {
    if (layer.no_grad) continue;
    const double macs = forward_flops(graph, layer) / 2e9;
    work.all += macs;
    const int producer = layer.inputs.empty() ? -1 : graph.tensors[static_cast<size_t>(layer.inputs[0])].producer;
    const bool gathered = producer >= 0 && graph.layers[static_cast<size_t>(producer)].op == Op::kDeformableGather;
    if (gathered) work.deformable += macs;
  }
  return work;
}

TEST(Counts, Bevformer) {
  const Workload bevformer = load_workload("bevformer-base");
  near(double(bevformer.parameters()), 69.03e6, 0.001, "parameters");
  near(double(bevformer.trainable_parameters()), 68.71e6, 0.001, "trained");
  const FrameWork work = frame_work(bevformer);
  near(work.all - work.deformable, 1303.5, 0.015, "GMAC");
  near(bevformer.training_flops_per_sample(), 21.5e12, 0.002, "training");
  // What is kept, weights, gradients and Adam's moments, of the repository's 28.5 GB; the rest is context, workspace
  // and fragmentation. An independent sketch of the network came to 25.2 GB.
  const LoweredStep step = lowered(bevformer, "dp=8", false);
  const double bytes = step.activation_bytes + 16 * double(bevformer.parameters());
  near(bytes, 25.2e9, 0.05, "training memory");
  EXPECT_LT(bytes, 28.5e9);
  EXPECT_GT(bytes, 0.8 * 28.5e9);
}

// BEVFormer-S has deformable attention over the present map alone in place of temporal self-attention. Table 5: 68.7 M
// parameters and 1303.5 GMAC, which leave out the deformable 3x3 convolutions of the backbone.
TEST(Counts, BevformerStatic) {
  const Workload small =
      changed("bevformer-base",
              {{"{ id = \"both\", op = \"elementwise\", kind = \"append\", from = [\"previous\", \"in\"] }",
                "{ id = \"both\", op = \"flatten\", from = \"in\" }"},
               {"{ id = \"t_query\", op = \"elementwise\", kind = \"concat\", from = [\"previous\", \"in\"] }",
                "{ id = \"t_query\", op = \"view\", from = \"in\" }"},
               {"from = \"t_query\", out = 128", "from = \"t_query\", out = 64"},
               {"{ id = \"t_weights\", op = \"linear\", from = \"t_query\", out = 64",
                "{ id = \"t_weights\", op = \"linear\", from = \"t_query\", out = 32"}});
  near(double(small.parameters()), 68.59e6, 0.0002, "parameters");
  near(double(small.parameters()), 68.7e6, 0.002, "published parameters");
  const FrameWork work = frame_work(small);
  near(work.all - work.deformable, 1286.6, 0.002, "GMAC as published");
  near(work.all, 1820, 0.002, "GMAC");
}

TEST(Counts, HydranetProxies) {
  const Workload hydranet = load_workload("hydranet-regnety16gf");
  EXPECT_EQ(hydranet.parameters(), 104'695'156);
  EXPECT_EQ(hydranet.provenance(), "proxy");
  near(hydranet.training_flops_per_sample(), 23.33e12, 0.001, "training");
  EXPECT_EQ(hydranet.gradient_bytes(), 418'780'624);
  EXPECT_EQ(hydranet.frames_per_sample(), 8);
  near(double(load_workload("hydranet-regnety8gf").parameters()), 60.5e6, 0.002, "8GF");
  near(load_workload("hydranet-regnety8gf").training_flops_per_sample(), 14.5e12, 0.002, "8GF training");
  near(double(load_workload("hydranet-regnety32gf").parameters()), 166.1e6, 0.002, "32GF");
  near(load_workload("hydranet-regnety32gf").training_flops_per_sample(), 42.7e12, 0.002, "32GF training");
}

// The same proxies on other pictures and clips: their totals were worked out by hand beforehand.
TEST(Counts, FollowResolutionAndClipLength) {
  const std::string wide = "height = 960\nwidth = 1280", narrow = "height = 640\nwidth = 960";
  near(changed("hydranet-regnety16gf", {{wide, narrow}}).training_flops_per_sample(), 12.7e12, 0.004,
       "16GF, 960 x 640");
  near(changed("hydranet-regnety8gf", {{wide, narrow}}).training_flops_per_sample(), 8.30e12, 0.004, "8GF, 960 x 640");
  near(changed("hydranet-regnety32gf", {{wide, narrow}}).training_flops_per_sample(), 22.4e12, 0.004,
       "32GF, 960 x 640");
  struct Clip {
    int frames;
    double training_flops;
  };
  for (const Clip& clip : {Clip{2, 67e12}, Clip{4, 145e12}, Clip{8, 330e12}, Clip{16, 823e12}}) {
    const std::string frames = fmt::format("frames = {}", clip.frames);
    near(changed("e2e-video-transformer-1b", {{"frames = 4", frames}}).training_flops_per_sample(), clip.training_flops,
         0.006, frames);
  }
}

}  // namespace
}  // namespace farscale
