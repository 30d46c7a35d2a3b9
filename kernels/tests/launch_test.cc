// Who started this process: the order of choice, and what is named when something is missing.
#include "kernels/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "kernels/error.h"

namespace farscale {
namespace {

using testing::HasSubstr;
using Table = std::map<std::string, std::string>;

Environment of(const Table& table) {
  return [table](const char* name) {
    const auto found = table.find(name);
    return found == table.end() ? nullptr : found->second.c_str();
  };
}

std::string refusal(const Table& table) {
  const Environment environment = of(table);
  try {
    const Rendezvous where = find_rendezvous(environment);
    return "met at " + where.host;
  } catch (const EnvironmentError& error) {
    return error.what();
  }
}

const Table kTorchrun = {
    {"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "a7"}, {"MASTER_PORT", "29501"}};
const Table kSlurm = {{"SLURM_PROCID", "5"},  {"SLURM_NTASKS", "8"},  {"SLURM_LOCALID", "2"},
                      {"SLURM_JOB_ID", "70"}, {"SLURM_STEP_ID", "1"}, {"SLURM_JOB_NODELIST", "n[07-09],m1"}};

Table with(Table table, const Table& more) {
  table.insert(more.begin(), more.end());
  return table;
}

TEST(Launch, NobodysTracesMeanAlone) {
  EXPECT_EQ(find_launch(of({})).module, "");
  EXPECT_EQ(find_launch(of({{"WORLD_SIZE", "1"}})).module, "");
  EXPECT_EQ(find_launch(of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}})).module, "");
}

TEST(Launch, MpiThenTorchrunThenSlurm) {
  const Table both = with(kTorchrun, kSlurm);
  EXPECT_EQ(find_launch(of(with(both, {{"OMPI_COMM_WORLD_SIZE", "2"}, {"PMI_RANK", "0"}}))).module, "mpi-openmpi");
  EXPECT_EQ(find_launch(of(with(both, {{"PMI_RANK", "0"}, {"PMI_SIZE", "6"}}))).module, "mpi-mpich");
  EXPECT_EQ(find_launch(of(with(both, {{"PMI_RANK", "0"}, {"PMI_SIZE", "6"}}))).size, 6);
  EXPECT_TRUE(find_launch(of(with(both, {{"PMI_RANK", "0"}}))).meets_by_tcp);
  EXPECT_EQ(find_launch(of(both)).by, "torchrun's variables");
  EXPECT_EQ(find_launch(of(kSlurm)).by, "Slurm");
  EXPECT_EQ(find_launch(of(kSlurm)).size, 8);
}

TEST(Launch, AScriptOfSbatchIsNoRank) {
  Table script = with(kSlurm, {{"ENVIRONMENT", "BATCH"}});
  EXPECT_EQ(find_launch(of(script)).module, "socket");  // a step of it
  script.erase("SLURM_STEP_ID");
  EXPECT_EQ(find_launch(of(script)).module, "");
}

TEST(Launch, FarscaleWorldDecides) {
  EXPECT_EQ(find_launch(of(with(kTorchrun, {{"FARSCALE_WORLD", "alone"}}))).module, "");
  EXPECT_EQ(find_launch(of({{"PMI_RANK", "0"}, {"FARSCALE_WORLD", "tcp"}})).module, "socket");
  try {
    (void)find_launch(of({{"FARSCALE_WORLD", "mpic"}}));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("mpich"));
  }
}

TEST(Launch, ReadsTorchrunsNames) {
  const Rendezvous where = find_rendezvous(of(kTorchrun));
  EXPECT_EQ(where.rank, 3);
  EXPECT_EQ(where.size, 4);
  EXPECT_EQ(where.local_rank, 1);
  EXPECT_EQ(where.host, "a7");
  EXPECT_EQ(where.port, 29501);
  EXPECT_EQ(find_rendezvous(of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}}))).port, 29502);
}

TEST(Launch, ReadsSlurmsNames) {
  const Rendezvous where = find_rendezvous(of(kSlurm));
  EXPECT_EQ(where.rank, 5);
  EXPECT_EQ(where.size, 8);
  EXPECT_EQ(where.local_rank, 2);
  EXPECT_EQ(where.host, "n07");
  EXPECT_EQ(where.port, 16384 + 70 + 257);
  EXPECT_EQ(find_rendezvous(of(with(kSlurm, {{"MASTER_ADDR", "x"}, {"MASTER_PORT", "7"}}))).host, "x");
  EXPECT_EQ(find_rendezvous(of(with(kSlurm, {{"MASTER_PORT", "7"}}))).port, 7);
  EXPECT_EQ(find_rendezvous(of(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "6"}}))).size, 6);
}

TEST(Launch, NamesWhatIsMissing) {
  for (const char* name : {"RANK", "MASTER_ADDR", "MASTER_PORT"}) {
    Table lacking = kTorchrun;
    lacking.erase(name);
    EXPECT_THAT(refusal(lacking), testing::StartsWith(std::string(name) + " is not set"));
  }
  Table lacking = kSlurm;
  lacking.erase("SLURM_JOB_NODELIST");
  EXPECT_THAT(refusal(lacking), HasSubstr("SLURM_JOB_NODELIST"));
  EXPECT_THAT(refusal({}), HasSubstr("WORLD_SIZE"));
  Table wrong = kTorchrun;
  wrong["RANK"] = "4";
  EXPECT_THAT(refusal(wrong), HasSubstr("rank 4 of 4"));
  wrong["RANK"] = "two";
  EXPECT_THAT(refusal(wrong), HasSubstr("RANK is 'two'"));
}

TEST(Launch, FirstHostsOfSlurmsLists) {
  EXPECT_EQ(first_host("n1"), "n1");
  EXPECT_EQ(first_host("n1,n2"), "n1");
  EXPECT_EQ(first_host("node[003-010,12],login"), "node003");
  EXPECT_EQ(first_host("r[1-2]c[05,7]-ib,x"), "r1c05-ib");
  EXPECT_EQ(first_host(""), "");
}

}  // namespace
}  // namespace farscale
