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

TEST(Reading, PointsAtTheHeader) {
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
