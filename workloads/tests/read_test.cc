// Wrong files: the line, what was expected and the nearest name.
#include <gmock/gmock.h>

#include "kernels/error.h"
#include "workloads/tests/text.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// The file's first eight lines; layers begin on line 9.
const std::string kHead =
    "name = \"t\"\nprovenance = \"proxy\"\nsources = [\"x\"]\n[types]\ncompute = \"bf16\"\n[inputs]\nheight = "
    "64\nwidth = 64\n";

void fails(const std::string& text, const std::string& place, const std::string& why) {
  EXPECT_THAT([&] { parse_workload(text, "mine.toml"); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("mine.toml:" + place), HasSubstr(why))))
      << text;
}

TEST(Reading, PointsAtTheLine) {
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"convv\"\nout = 8\n", "11", "did you mean 'conv'?");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernell = 3\n", "13", "did you mean 'kernel'?");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = -8\n", "12", "a number from 1");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = \"8\"\n", "12", "found text");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\n", "9", "out: missing");
  fails(kHead + "[[layer]]\nop = \"conv\"\nout = 8\n", "9", "id: missing");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernel = 2.5\n", "13", "whole number");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\ngroups = 2\n", "11", "do not divide into 2 groups");
  fails(kHead +
            "[[layer]]\nid = \"trunk\"\nop = \"conv\"\nout = 8\n[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 8\n"
            "from = \"trunc\"\n",
        "17", "did you mean 'trunk'?");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nactivation = \"reluu\"\n", "13",
        "did you mean 'relu'?");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"transformer\"\nlayers = 1\nheads = 5\nffn = 8\n", "11",
        "does not divide into 5 heads");
  fails(kHead +
            "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\n[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 9\nshared = "
            "\"a\"\n",
        "17", "not those of a layer there");
  fails(kHead + "[[layer]]\nid = \"a\"\nop = \"elementwise\"\nfrom = []\n", "12", "at least one name");
}

// What is no mistake of spelling, but no network either.
TEST(Reading, RefusesWhatIsNoNetwork) {
  const auto layer = [](const std::string& id, const std::string& keys) {
    return fmt::format("[[layer]]\nid = \"{}\"\n{}\n", id, keys);
  };
  const std::string conv = "op = \"conv\"\nout = 8";
  fails(kHead + layer("a", conv) + layer("a", conv), "14", "another layer is called 'a'");
  fails(kHead + layer("", conv), "10", "a name without dots");
  fails(kHead + layer("a.b", conv), "10", "a name without dots");
  fails(kHead + layer("input", conv), "10", "what comes in");
  fails(kHead + layer("s",
                      "op = \"sequence\"\nlayers = [{ id = \"x\", op = \"norm\" }, { id = \"x\", op = "
                      "\"norm\" }]"),
        "12", "another layer is called 's.x'");
  fails(kHead + layer("a", conv + "\nkernel = 1024"), "11", "more than twice the 64 positions");
  fails(kHead + layer("r", "op = \"replay\"\nlayers = []"), "12", "at least one id");
  // As many parameters in another shape.
  fails(kHead + layer("c", "op = \"input\"\nchannels = 2\nheight = 64\nwidth = 64") +
            layer("a", "op = \"conv\"\nout = 6\nbias = false\nfrom = \"input\"") +
            layer("b", "op = \"conv\"\nout = 9\nbias = false\nfrom = \"c\"\nshared = \"a\""),
        "27", "not those of a layer there");
  const std::string gather = "op = \"deformable_gather\"\nfrom = [\"a\", \"o\"]";
  for (const char* offsets : {"op = \"conv\"\nout = 26", "op = \"conv\"\nout = 27\nstride = 2"}) {
    fails(kHead + layer("a", conv) + layer("o", std::string(offsets) + "\nfrom = \"a\"") + layer("g", gather), "",
          "for each of 9 taps");
  }
  EXPECT_NO_THROW(parse_workload(
      kHead + layer("a", conv) + layer("o", "op = \"conv\"\nout = 27\nfrom = \"a\"") + layer("g", gather), "t"));
  fails(kHead + layer("a", "op = \"conv\"\nout = 9223372036854775807"), "12", "found 9.22");
}

TEST(Reading, PointsAtTheHeader) {
  fails("name = \"\"\nprovenance = \"proxy\"\nsources = [\"x\"]\n[inputs]\ntokens = 4\n", "1", "a name");
  fails("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"\"]\n[inputs]\ntokens = 4\n", "3", "where the numbers");
  fails("name = \"t\"\nprovenance = \"guess\"\nsources = [\"x\"]\n[inputs]\nheight = 1\nwidth = 1\n", "2", "proxy");
  fails("name = \"t\"\nprovenance = \"proxy\"\n[inputs]\nheight = 1\nwidth = 1\n", "1", "where the numbers");
  fails("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"x\"]\n[inputs]\nheight = 1\nwidth = 1\n", "1", "[[layer]]");
  fails("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"x\"]\n[types]\ncompute = \"bf61\"\n[inputs]\ntokens = 4\n",
        "5", "did you mean 'bf16'?");
  fails("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"x\"]\n[inputs]\nheight = 64\n", "4", "width: missing");
  fails("name = \"t\nprovenance", "1:", "not TOML");
}

TEST(Reading, ChecksWhatTheFileExpects) {
  const std::string layer = "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernel = 3\n";
  EXPECT_NO_THROW(
      parse_workload(kHead + layer + "[expect]\nparameters = 224\nbuckets = 1\ngradient_bytes = 896\n", "t"));
  fails(kHead + layer + "[expect]\nparameters = 225\n", "15", "the layers make 224");
  fails(kHead + layer + "[expect]\nbuckets = 2\n", "15", "make 1");
  fails(kHead + layer + "[expect]\ntraining_flops = 3e6\n", "15", "training_flops");
}

TEST(Reading, UnknownNamesAndFiles) {
  EXPECT_THAT([] { load_workload("resnet5O"); }, ThrowsMessage<InputError>(HasSubstr("did you mean 'resnet50'?")));
  EXPECT_THAT([] { load_workload("./no/such.toml"); }, ThrowsMessage<InputError>(HasSubstr("cannot be opened")));
}

// Names inside a sequence are its own first; repeats feed themselves.
TEST(Reading, SequencesHaveTheirOwnNames) {
  const Workload workload = vision(
      "[[layer]]\nid = \"x\"\nop = \"conv\"\nout = 4\n[[layer]]\nid = \"s\"\nop = \"sequence\"\nrepeat = 3\nlayers = "
      "[\n"
      "{ id = \"x\", op = \"conv\", out = 4 }, { id = \"sum\", op = \"elementwise\", from = [\"in\", \"x\"] }]\n"
      "[[layer]]\nid = \"y\"\nop = \"elementwise\"\nfrom = [\"x\", \"s\"]\n");
  const Graph& graph = workload.data().graph;
  EXPECT_EQ(workload.parameters(), 3 * 4 + 4 + 3 * (4 * 4 + 4));
  ASSERT_EQ(graph.layers.size(), 1U + 3 * 2 + 1);
  EXPECT_EQ(graph.layers[3].inputs[0], graph.layers[2].output);  // the second round starts from the first one's sum
  EXPECT_EQ(graph.layers[4].inputs[0], graph.layers[2].output);  // as does its "in"
  EXPECT_EQ(graph.layers[7].inputs[0], graph.layers[0].output);  // outside, "x" is the outer one
}

}  // namespace
}  // namespace farscale
