// How this process was started: the traces that launchers leave in the environment, and where ranks without MPI meet.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace farscale {

// The value of a variable, or nullptr: std::getenv, or a test's table.
using Environment = std::function<const char*(const char* name)>;

// The world a process belongs to. First an MPI launcher's traces (Open MPI: OMPI_COMM_WORLD_SIZE, PMIX_RANK; MPICH:
// PMI_RANK, PMI_FD), then torchrun's names (RANK, WORLD_SIZE), then Slurm's (SLURM_PROCID, SLURM_NTASKS).
// FARSCALE_WORLD=openmpi|mpich|tcp|alone decides instead.
struct WorldLaunch {
  std::string module;         // of farscale-<module>.so: "mpi-openmpi", "mpi-mpich", "socket"; "": a process alone
  std::string by;             // "Open MPI's launcher", "torchrun's variables", "Slurm"
  int size = 0;               // how many processes the launcher says it started; 0: it does not say
  bool meets_by_tcp = false;  // the names that TCP needs are there too: used when the MPI module is missing
};
WorldLaunch find_launch(const Environment& environment);  // throws InputError when FARSCALE_WORLD is another word

// Where ranks without MPI meet: rank 0 listens there.
struct Rendezvous {
  int rank = 0;
  int size = 1;
  int local_rank = -1;  // -1: not said; counted from the host names then
  std::string host;
  int port = 0;
};

// torchrun: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; the port after it where torchrun's own agent sits
// on it (TORCHELASTIC_USE_AGENT_STORE). Slurm: SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS, SLURM_LOCALID, the
// first host of SLURM_STEP_NODELIST or SLURM_JOB_NODELIST, and port 16384 + (SLURM_JOB_ID + 257 SLURM_STEP_ID) mod
// 16384, below those that Linux hands out; MASTER_ADDR and MASTER_PORT replace both. Throws EnvironmentError naming
// what is missing.
Rendezvous find_rendezvous(const Environment& environment);

// The first host of a Slurm list: "node[003-010,12],login" -> "node003".
std::string first_host(const std::string& list);

// Process numbers of other living processes with this program and this parent: N lone processes by mistake, likely.
std::vector<int> siblings();

}  // namespace farscale
