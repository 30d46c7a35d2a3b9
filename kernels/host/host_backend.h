// The host backend: this machine's processors and memory behind the backend table.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/host/context.h"
#include "kernels/host/machine.h"

namespace farscale {

// Every rank of the world opens its backend together: the ranks of a host share its cores and memory between them.
class HostBackend final : public Backend {
 public:
  explicit HostBackend(World& world);

  DeviceReport device() const override;
  Maybe<std::unique_ptr<Operation>> prepare(const Problem& problem, const OperationSettings& settings) override;
  // A communication queue duplicates the world: every rank opens it together.
  std::unique_ptr<Queue> open_queue(QueueRole role) override;
  std::unique_ptr<Event> make_event() override;
  double time_s(Operation& operation, Queue& queue, int64_t runs) override;
  Telemetry telemetry() override;
  Maybe<std::unique_ptr<Operation>> prepare_input(int64_t bytes) override;

  HostContext& context() { return context_; }  // for tests

 private:
  World& world_;
  HostMachine machine_;
  HostContext context_;
};

}  // namespace farscale
