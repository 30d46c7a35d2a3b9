// Every call of a whole run is made to fail once: nothing leaks, the communicator is aborted, and what is thrown or
// recorded names the call.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

// What a run left in writing: reasons, warnings, facts and the error that ended it.
struct Story {
  std::string text;
  bool thrown = false;

  void add(const std::string& line) { text += line + "\n"; }
  void add(const Facts& facts) {
    for (const auto& [key, value] : facts) add(key + ": " + value);
  }
};

void run_case(Backend& backend, const Problem& problem, Story& story,
              const OperationSettings& settings = {.cold = false}) {
  auto operation = backend.prepare(problem, settings);
  if (!operation) {
    story.add(operation.reason());
    return;
  }
  const Verdict verdict = (*operation)->verify();
  if (!verdict.correct) story.add("wrong: " + verdict.detail);
  const auto queue = backend.open_queue(QueueRole::kCommunication);
  (void)backend.time_s(**operation, *queue, 2);
  story.add((*operation)->details());
}

// What a step has beside its kernels: an arena, inputs, and all of it in one graph.
void run_step(Backend& backend, const GemmProblem& gemm, Story& story) {
  auto arena = backend.make_arena({gemm});
  auto input = backend.prepare_input(64);
  if (!arena || !input) return story.add(arena.reason() + input.reason());
  if (!(*input)->verify().correct) story.add("wrong");
  auto product = backend.prepare(gemm, {.arena = arena->get()});
  if (!product) return story.add(product.reason());
  const auto compute = backend.open_queue(QueueRole::kCompute);
  const auto copies = backend.open_queue(QueueRole::kInput);
  (*input)->run(*copies);
  copies->synchronize();
  auto recorded = backend.record_graph(*compute, [&] { (*product)->run(*compute); });
  if (!recorded) return story.add(recorded.reason());
  (*recorded)->launch(*compute);
  compute->synchronize();
}

// A little of everything this module can do.
void run_everything(World& world, Story& story) {
  auto opened = open_module_here("fake", world);
  if (!opened) {
    story.add(opened.reason());
    return;
  }
  Backend& backend = **opened;
  const DeviceReport report = backend.device();
  for (const std::string& warning : report.warnings) story.add(warning);
  const GemmProblem small{.m = 16, .n = 16, .k = 16, .batch = 2, .type = NumberType::kBf16};
  run_case(backend, small, story, {.cold = true});
  run_case(backend,
           GemmProblem{.m = 16,
                       .n = 16,
                       .k = 16,
                       .type = NumberType::kFp8E4M3,
                       .transpose_b = true,
                       .epilogue = Epilogue::kBias,
                       .scaling = Scaling::kTensor},
           story);
  for (const MemoryKind kind : kMemoryKinds) {
    run_case(backend, MemoryProblem{.kind = kind, .elements = kMemoryRow}, story);
  }
  for (const CollectiveKind kind : kCollectiveKinds) {
    run_case(backend, CollectiveProblem{.kind = kind, .bytes = 256, .ranks = 1}, story);
  }
  run_case(backend, CollectiveProblem{.bytes = 256, .ranks = 1}, story,
           {.graph = true, .registered = true, .most_ctas = 4});
  run_case(backend, CollectiveProblem{.bytes = 256, .ranks = 1, .in_place = true}, story);
  for (const ConvolutionPass pass : kConvolutionPasses) {
    run_case(backend,
             ConvolutionProblem{.pass = pass, .images = 1, .height = 4, .width = 4, .channels = 8, .filters = 8},
             story);
  }
  run_step(backend, small, story);
  const auto compute = backend.open_queue(QueueRole::kCompute);
  const auto event = backend.make_event();
  compute->record(*event);
  compute->wait_for(*event);
  compute->synchronize();
  (void)backend.telemetry();
}

Story tell(World& world) {
  Story story;
  try {
    run_everything(world, story);
  } catch (const Error& error) {
    story.thrown = true;
    story.add(error.what());
  }
  return story;
}

// Calls whose failure ends nothing: closing calls (their errors are an earlier call's, and that one has thrown), the
// end of a communicator that did its work (it is aborted instead), and what only describes a sample.
bool may_pass_silently(const std::string& call) {
  if (call.starts_with("dlsym ") && !call.starts_with("dlsym nvml")) return false;
  for (const char* closing : {"Destroy", "Free", "Finalize", "Deregister", "Shutdown"}) {
    if (call.find(closing) != std::string::npos) return true;
  }
  return call.starts_with("nvmlDeviceGet") || call.starts_with("dlsym nvml") || call == "nvmlSystemGetDriverVersion" ||
         call == "cublasLtMatmulAlgoConfigGetAttribute";
}

// What the story must say about a failed call: its name, or for the library seam what that looks like.
std::string trace_of(const std::string& call) {
  if (call == "dlopen") return "cannot open shared object file";
  return call.starts_with("dlsym ") ? " has no " : call;
}

// "kernels/cuda/gemm.cc:120" of every error in a story.
std::set<std::string> places_in(const std::string& text) {
  std::set<std::string> places;
  const std::regex place("(kernels/cuda/[a-z_]+\\.(?:cc|h)):([0-9]+)");
  for (std::sregex_iterator at(text.begin(), text.end(), place), end; at != end; ++at) places.insert(at->str());
  return places;
}

// A checked call in the sources: its file and lines.
struct CallSite {
  std::string file;
  int first = 0;
  int last = 0;
  std::string text = {};

  bool closing() const { return may_pass_silently(text); }
  bool reached(const std::set<std::string>& places) const {
    for (int line = first; line <= last; ++line) {
      if (places.contains(file + ":" + std::to_string(line))) return true;
    }
    return false;
  }
};

// Those of one source file: from the macro, or check(status, ...), to the semicolon.
std::vector<CallSite> call_sites(const std::filesystem::path& path) {
  std::vector<CallSite> sites;
  std::ifstream file(path);
  const std::regex call("FARSCALE_(CALL|NCCL|CUDNN_CALL)\\(|^ *check\\(status");
  bool open = false;
  int line = 0;
  for (std::string text; std::getline(file, text);) {
    ++line;
    if (std::regex_search(text, call)) {
      sites.push_back({"kernels/cuda/" + path.filename().string(), line, line});
      open = true;
    }
    if (open) sites.back().last = line;
    if (open) sites.back().text += text;
    if (text.ends_with(";")) open = false;
  }
  return sites;
}

class Faults : public FakeTest {
 protected:
  // Makes every call of `body` fail once, each time after an unharmed `before`. Returns where errors were thrown.
  std::set<std::string> sweep(const GemmProblem& problem, const std::function<void(Backend&, Operation&)>& before,
                              const std::function<void(Backend&, Operation&)>& body) {
    for (int id = 2; id <= 4; ++id) fake_->set_candidate(id, {.fails = true});  // the choice is not what is tested
    std::set<std::string> places;
    const auto backend = open();
    auto operation = backend->prepare(problem, {.cold = false});
    std::string call = "first";
    for (int64_t n = 1; !call.empty(); ++n) {
      before(*backend, **operation);
      const std::string alive = fake_->alive();
      fake_->fail_call(n);
      std::string text;
      try {
        body(*backend, **operation);
      } catch (const CallError& error) {
        text = error.what();
      }
      call = fake_->failed_call();
      fake_->fail_call(0);
      EXPECT_EQ(fake_->alive(), alive) << call << ": " << text;
      EXPECT_TRUE(call.empty() || call == "cudaFree" || text.find(call) != std::string::npos)
          << call << " failed and nothing said so: " << text;
      places.merge(places_in(text));
    }
    return places;
  }

  // A short product is timed as a graph; when that fails its other time counts, and the record says why.
  std::set<std::string> graphs_of_short_products() {
    std::set<std::string> places;
    const std::map<const char*, int64_t> calls = {{"cudaStreamBeginCapture", 1},
                                                  {"cudaStreamEndCapture", 1},
                                                  {"cudaGraphInstantiate", 1},
                                                  {"cudaGraphLaunch", 1},
                                                  {"cudaEventRecord", 7}};  // six looks without a graph before
    for (const auto& [call, n] : calls) {
      fake_->reset();
      for (int id = 1; id <= 4; ++id) fake_->set_candidate(id, {.cost = 0.015, .fails = id > 1});
      const auto backend = open();
      fake_->fail_named(call, n);
      auto operation = backend->prepare(GemmProblem{.m = 4, .n = 4, .k = 4}, {});
      const Facts facts = (*operation)->details();
      EXPECT_STREQ(fake_->failed_call(), call);
      EXPECT_TRUE(facts.contains("graph_failure")) << call;
      if (facts.contains("graph_failure")) places.merge(places_in(facts.at("graph_failure")));
    }
    return places;
  }

  // Registering a buffer where GPUs cannot map each other's memory.
  std::set<std::string> buffers_without_windows() {
    fake_->reset();
    fake_->set_nccl(22705, false);
    fake_->fail_named("ncclCommRegister", 1);
    try {
      const auto backend = open();
      auto operation = backend->prepare(CollectiveProblem{.bytes = 256, .ranks = 1}, {.registered = true});
      (void)(*operation)->verify();
    } catch (const CallError& error) {
      return places_in(error.what());
    }
    ADD_FAILURE() << "expected a CallError";
    return {};
  }
};

// Those of all sources in a folder; none where it is not: a bundle has the test and not the sources.
std::vector<CallSite> all_call_sites(const std::filesystem::path& folder) {
  std::vector<CallSite> all;
  if (!std::filesystem::is_directory(folder)) return all;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cc") continue;
    const std::vector<CallSite> sites = call_sites(entry.path());
    all.insert(all.end(), sites.begin(), sites.end());
  }
  return all;
}

// Every checked call of the module failed once in some run, but for those that close what did its work (their errors
// are swallowed on purpose): a new one without a test shows here.
void expect_all_reached(const std::vector<CallSite>& all, const std::set<std::string>& places) {
  int sites = 0;
  for (const CallSite& site : all) {
    sites += site.closing() ? 0 : 1;
    EXPECT_TRUE(site.closing() || site.reached(places)) << site.file << ":" << site.first << " never failed";
  }
  EXPECT_TRUE(all.empty() || sites > 80) << sites;
}

TEST(CallSites, AreFoundInTheSourcesAndAbsentInABundle) {
  const std::filesystem::path sources = FARSCALE_SOURCE_DIR "/kernels/cuda";
  EXPECT_EQ(all_call_sites(sources).empty(), !std::filesystem::is_directory(sources));
  const std::vector<CallSite> none = all_call_sites("/a/folder/that/is/not/there");
  EXPECT_TRUE(none.empty());
  expect_all_reached(none, {});
}

TEST_F(Faults, NothingFailsByItself) {
  const Story story = tell(*world_);
  EXPECT_FALSE(story.thrown) << story.text;
  EXPECT_EQ(story.text.find("wrong"), std::string::npos) << story.text;
  EXPECT_EQ(fake_->communicators_finalised(), 2) << "one of them with few SMs";
  EXPECT_EQ(fake_->communicators_aborted(), 0);
}

TEST_F(Faults, EveryCallCanFail) {
  (void)tell(*world_);
  const int64_t calls = fake_->calls();
  ASSERT_GT(calls, 500);
  RecordProperty("calls", static_cast<int>(calls));
  std::set<std::string> failed, places;
  int64_t thrown = 0;
  for (int64_t n = 1; n <= calls; ++n) {
    fake_->reset();
    fake_->fail_call(n);
    const Story story = tell(*world_);
    const std::string call = fake_->failed_call();
    failed.insert(call.substr(0, call.find(' ')));
    places.merge(places_in(story.text));
    thrown += story.thrown ? 1 : 0;
    ASSERT_STREQ(fake_->alive(), "") << "leaked when call " << n << ", " << call << ", failed\n" << story.text;
    const bool other_name = call == "dlopen" && story.text.find("(libcublasLt.so)") != std::string::npos;
    const bool told = other_name || story.text.find(trace_of(call)) != std::string::npos;
    const bool aborted = fake_->communicators_aborted() > 0;
    const bool done = fake_->communicators_finalised() > 0;  // and the one it was split from is left to be closed
    ASSERT_TRUE(told || may_pass_silently(call) || (call == "ncclCommGetAsyncError" && (aborted || done)))
        << "call " << n << ", " << call << ", failed and nothing said so:\n"
        << story.text;
    ASSERT_LE(fake_->communicators_aborted() + fake_->communicators_finalised(), 2);
    if (story.thrown && call.starts_with("nccl")) {
      ASSERT_EQ(fake_->communicators_finalised(), 0) << call << "\n" << story.text;
    }
  }
  EXPECT_GT(thrown, calls / 4);
  // Every function the module calls was reached: a new call without a test shows here.
  for (const char* call : {"cudaGetDeviceCount",
                           "cudaMalloc",
                           "cudaMemcpyAsync",
                           "cudaEventElapsedTime",
                           "launch_fill",
                           "launch_copy",
                           "launch_triad",
                           "launch_adamw",
                           "cublasLtMatmul",
                           "cublasLtMatmulAlgoGetHeuristic",
                           "ncclCommInitRankConfig",
                           "ncclCommSplit",
                           "ncclAllReduce",
                           "ncclReduceScatter",
                           "ncclAllGather",
                           "ncclBroadcast",
                           "ncclSend",
                           "ncclRecv",
                           "ncclGroupStart",
                           "ncclGroupEnd",
                           "ncclCommFinalize",
                           "ncclCommDestroy",
                           "nvmlInit_v2",
                           "dlopen",
                           "dlsym"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
  // The check of a large product, and the search for what changed in a small one.
  const auto verify = [](Backend&, Operation& operation) { (void)operation.verify(); };
  const auto spoil = [&](Backend& backend, Operation& operation) {
    (void)operation.verify();
    fake_->corrupt_products(1);
    const auto queue = backend.open_queue(QueueRole::kCompute);
    (void)backend.time_s(operation, *queue, 1);
  };
  const auto recheck = [](Backend&, Operation& operation) { (void)operation.recheck(); };
  fake_->reset();
  places.merge(sweep({.m = 8, .n = 8, .k = 8}, verify, verify));
  places.merge(sweep({.m = 257, .n = 257, .k = 257, .type = NumberType::kBf16}, verify, verify));
  places.merge(sweep({.m = 8, .n = 8, .k = 8}, spoil, recheck));
  places.merge(graphs_of_short_products());
  places.merge(buffers_without_windows());
  expect_all_reached(all_call_sites(FARSCALE_SOURCE_DIR "/kernels/cuda"), places);
}

// The second and later runs of a call fail elsewhere than the first: the errors must say which line it was.
TEST_F(Faults, ErrorsCarryCallCodeNameAndPlace) {
  fake_->fail_named("cudaEventElapsedTime", 1);
  const auto backend = open();
  auto operation = backend->prepare(MemoryProblem{.elements = 64}, {});
  const auto queue = backend->open_queue(QueueRole::kCompute);
  try {
    (void)backend->time_s(**operation, *queue, 1);
    FAIL() << "expected a CallError";
  } catch (const CallError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(
        text.starts_with("cudaEventElapsedTime(&milliseconds, start_.get(), stop_.get()) failed: 999 cudaErrorUnknown"))
        << text;
    EXPECT_NE(text.find(" at kernels/cuda/queue.cc:"), std::string::npos) << text;
  }
}

TEST_F(Faults, AFailureBehindTheBackAborts) {
  const auto backend = open();
  auto operation = backend->prepare(CollectiveProblem{.bytes = 256, .ranks = 1}, {});
  ASSERT_TRUE(operation);
  const auto queue = backend->open_queue(QueueRole::kCommunication);
  (*operation)->run(*queue);
  fake_->set_async_error(3);  // ncclInternalError
  EXPECT_THROW(queue->synchronize(), CallError);
  EXPECT_EQ(fake_->communicators_aborted(), 1);
  EXPECT_THROW((*operation)->run(*queue), CallError);  // and says so again, without touching what is gone
  fake_->set_async_error(0);
  auto again = backend->prepare(CollectiveProblem{.bytes = 256, .ranks = 1}, {});
  ASSERT_TRUE(again);  // a new communicator
  EXPECT_TRUE((*again)->verify().correct);
}

}  // namespace
}  // namespace farscale::cuda_test
