// Result files: exact round trip, refusals on both sides, and files that are whole or absent.
#include "results/result_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"
#include "results/tests/example_run.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class ResultFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "farscale-result-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string in_folder(const std::string& name) const { return (folder_ / name).string(); }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }
  std::string put(const std::string& text) const {
    std::ofstream(in_folder("hand.json")) << text;
    return in_folder("hand.json");
  }
  // The text of a good file with `from` replaced, which must be there.
  std::string edited(const std::string& from, const std::string& to) const {
    std::string text = result_json(example_run(), MachineContext{});
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }
  fs::path folder_;
};

TEST_F(ResultFile, RoundTripIsExact) {
  const farscale::Run run = example_run();
  ResultWriter writer(in_folder("run.json"));
  writer.write(run);
  const farscale::Run back = read_result(writer.path());
  EXPECT_EQ(back.path, writer.path());
  expect_same(back, run);
}

TEST_F(ResultFile, LaterWritesReplaceOnlyTheirOwnFile) {
  farscale::Run run = example_run();
  ResultWriter writer(in_folder("run.json"));
  writer.write(run);
  run.complete = true;
  run.records.pop_back();
  writer.write(run);
  const farscale::Run back = read_result(writer.path());
  EXPECT_TRUE(back.complete);
  EXPECT_EQ(back.records.size(), run.records.size());
  EXPECT_THAT(files(), testing::ElementsAre("run.json"));
}

TEST_F(ResultFile, NeverOverwritesAndOffersAFreeName) {
  write_file(in_folder("run.json"), "precious");
  write_file(in_folder("run-2.json"), "precious too");
  EXPECT_THAT([&] { ResultWriter(in_folder("run.json")); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("exists already"), HasSubstr("run-3.json"))));
  EXPECT_THROW(write_file(in_folder("run.json"), "x"), InputError);
  EXPECT_EQ(read_text(in_folder("run.json")), "precious");
  write_file(in_folder("run.json"), "new", true);
  EXPECT_EQ(read_text(in_folder("run.json")), "new");
}

TEST_F(ResultFile, AFileThatAppearedMeanwhileStays) {
  ResultWriter writer(in_folder("run.json"));
  write_file(in_folder("run.json"), "precious");
  EXPECT_THROW(writer.write(example_run()), InputError);
  EXPECT_EQ(read_text(in_folder("run.json")), "precious");
  EXPECT_THAT(files(), testing::ElementsAre("run.json"));
}

TEST_F(ResultFile, AFileSomebodyPutInOursPlaceStays) {
  ResultWriter writer(in_folder("run.json"));
  writer.write(example_run());
  fs::rename(in_folder("run.json"), in_folder("moved.json"));
  std::ofstream(in_folder("run.json")) << "precious";
  EXPECT_THROW(writer.write(example_run()), InputError);
  EXPECT_EQ(read_text(in_folder("run.json")), "precious");
}

TEST_F(ResultFile, DanglingLinkIsNotFollowed) {
  fs::create_symlink(in_folder("elsewhere.json"), in_folder("run.json"));
  EXPECT_THROW(write_file(in_folder("run.json"), "x"), InputError);
  EXPECT_FALSE(fs::exists(in_folder("elsewhere.json")));
}

TEST_F(ResultFile, MissingFolderIsSaidBeforeMeasuring) {
  EXPECT_THAT([&] { ResultWriter(in_folder("nowhere/run.json")); },
              ThrowsMessage<EnvironmentError>(AllOf(HasSubstr("nowhere"), HasSubstr("does not exist"))));
}

// A full disk, as a limit on file size: the write of the child fails half way.
TEST_F(ResultFile, FullDiskLeavesTheEarlierFileAndNoRest) {
  ResultWriter writer(in_folder("run.json"));
  writer.write(example_run());
  const std::string before = read_text(writer.path());
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 100, .rlim_max = 100};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      writer.write(example_run());
    } catch (const EnvironmentError& error) {
      ::_exit(std::string(error.what()).find("no space left") != std::string::npos ? 42 : 43);
    }
    ::_exit(44);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(read_text(writer.path()), before);
  EXPECT_THAT(files(), testing::ElementsAre("run.json"));
}

TEST_F(ResultFile, NotANumberIsRefusedByName) {
  farscale::Run run = example_run();
  run.records[0].counters["flops_per_s"] = std::nan("");
  EXPECT_THAT([&] { result_json(run, {}); },
              ThrowsMessage<CallError>(AllOf(HasSubstr(run.records[0].name), HasSubstr("counters.flops_per_s"))));
  run = example_run();
  run.records[0].rank_medians_s = {1, INFINITY};
  EXPECT_THAT([&] { result_json(run, {}); }, ThrowsMessage<CallError>(HasSubstr("rank_medians_s[1]")));
  run = example_run();
  run.records[0].samples_s[0] = 0;
  EXPECT_THROW(result_json(run, {}), CallError);
  run = example_run();
  run.records[1].name = run.records[0].name;
  EXPECT_THAT([&] { result_json(run, {}); }, ThrowsMessage<CallError>(HasSubstr("twice")));
}

TEST_F(ResultFile, ARefusedRecordLeavesTheEarlierFile) {
  farscale::Run run = example_run();
  ResultWriter writer(in_folder("run.json"));
  writer.write(run);
  run.records[0].telemetry["power_w"] = NAN;
  EXPECT_THROW(writer.write(run), CallError);
  expect_same(read_result(writer.path()), example_run());
}

TEST_F(ResultFile, InvalidUtf8DoesNotBreakTheFile) {
  farscale::Run run = example_run();
  run.device = "GPU \xff";
  const farscale::Run back = parse_result(result_json(run, {}), "x.json");
  EXPECT_THAT(back.device, HasSubstr("GPU "));
}

TEST_F(ResultFile, MissingAndFolder) {
  EXPECT_THAT([&] { read_result(in_folder("none.json")); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("none.json"), HasSubstr("No such file"))));
  EXPECT_THAT([&] { read_result(folder_.string()); }, ThrowsMessage<InputError>(HasSubstr("folder")));
}

TEST_F(ResultFile, EveryTruncationIsAnInputErrorWithAPlace) {
  const std::string text = result_json(example_run(), MachineContext{});
  for (size_t length = 0; length + 2 < text.size(); length += 37) {
    EXPECT_THAT([&] { parse_result(text.substr(0, length), "cut.json"); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("cut.json:"), HasSubstr("truncated"))))
        << length;
  }
}

TEST_F(ResultFile, ForeignFiles) {
  const auto fails = [&](const std::string& text, const std::string& message) {
    EXPECT_THAT([&] { read_result(put(text)); }, ThrowsMessage<InputError>(HasSubstr(message))) << text;
  };
  fails("", "hand.json:1");
  fails("not json", "hand.json:1: not JSON at byte");
  fails("{\n \"context\": {},\n \"benchmarks\": [,]}", "hand.json:3");
  fails("[1, 2]", "context and benchmarks");
  fails("{\"context\": {}, \"benchmarks\": []}", "farscale import google-benchmark");
  fails("{\"context\": 3, \"benchmarks\": []}", "$.context");
  fails("{\"context\": {\"farscale\": {\"schema\": 1e999}}, \"benchmarks\": []}", "hand.json");
}

TEST_F(ResultFile, WrongValuesNameTheirPlace) {
  const auto fails = [&](const std::string& from, const std::string& to, const std::string& place,
                         const std::string& message) {
    EXPECT_THAT([&] { parse_result(edited(from, to), "bad.json"); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("bad.json"), HasSubstr(place), HasSubstr(message))))
        << to;
  };
  fails("\"schema\": 1", "\"schema\": 7", "$.context.farscale.schema", "expected schema 1, found 7");
  fails("\"ranks\": 2", "\"ranks\": \"two\"", "$.context.farscale.ranks", "expected a whole number, found \"two\"");
  fails("\"ranks\": 2", "\"ranks\": 0", "$.context.farscale.ranks", "from 1");
  fails("\"ranks\": 2", "\"ranks\": 99999999999999999999", "$.context.farscale.ranks", "expected");
  fails("\"status\":\"ok\"", "\"status\":\"okk\"", "$.benchmarks[0].farscale.status", "did you mean 'ok'");
  fails("\"type\":\"fp32\"", "\"type\":\"fp31\"", "farscale.problem.type", "did you mean 'fp32'");
  fails("\"m\":64", "\"m\":-64", "farscale.problem", "from 1 to");
  fails("\"batch\":1", "\"bach\":1", "farscale.problem", "is 'bach' meant to be it?");
  fails("\"samples_s\":[", "\"samples_s\":[0,", "farscale.samples_s[0]", "above 0 s");
  fails("\"samples_s\":[", "\"samples_s\":[null,", "farscale.samples_s[0]", "expected a number, found null");
  fails("\"correct\":true", "\"correct\":1", "farscale.verdict.correct", "expected true or false");
}

TEST_F(ResultFile, TheSameCaseTwiceIsRefused) {
  std::string text = result_json(example_run(), MachineContext{});
  const size_t begin = text.find("{\"name\":"), end = text.find('\n', begin);
  text.insert(begin, text.substr(begin, end - begin) + "\n");
  EXPECT_THAT([&] { parse_result(text, "x.json"); }, ThrowsMessage<InputError>(HasSubstr("appears twice")));
}

}  // namespace
}  // namespace farscale
