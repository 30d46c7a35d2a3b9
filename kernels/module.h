// Opening the modules beside the program: farscale-<name>.so, looked for beside the executable, then in
// ../lib/farscale, then in $FARSCALE_MODULE_PATH (first if set).
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/world.h"

namespace farscale {

// Opens farscale-<name>.so and its backend; the reason names the file and what is missing. Modules stay open until the
// process ends (cuBLASLt, MPI and OpenBLAS do not survive dlclose).
Maybe<std::unique_ptr<Backend>> open_backend(const std::string& name, World& world);

// The world this process was launched into (kernels/launch.h says how that is known); without a launcher, a world of
// one. Throws EnvironmentError when a launcher is there but its module is not, or when the world it gives is of one
// process where the launcher started more: N lone processes by mistake.
std::unique_ptr<World> open_world();

// Folder of the running executable, and the folder of shipped data `name` ("workloads", "cluster/plans"): looked for in
// $FARSCALE_DATA, share/farscale and ../share/farscale beside the executable, and the source tree it was built from.
std::string executable_folder();
std::string data_folder(const std::string& name);

}  // namespace farscale
