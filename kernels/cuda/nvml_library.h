// NVML, opened at run time: clocks, power, temperature and the reasons for a lowered clock. Its functions are declared
// here by hand (from NVIDIA's public NVML API reference), because nvml.h comes with few packages.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/library.h"
#include "kernels/error.h"

extern "C" {
struct nvmlDevice_st;
using nvmlDevice_t = nvmlDevice_st*;
using nvmlReturn_t = int;  // 0 is NVML_SUCCESS
nvmlReturn_t nvmlInit_v2();
nvmlReturn_t nvmlShutdown();
nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length);
nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* pci_bus_id, nvmlDevice_t* device);
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int clock, unsigned* mhz);
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, int clock, unsigned* mhz);
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned* milliwatts);
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned* milliwatts);
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned* celsius);
struct nvmlFieldValue_t {
  unsigned fieldId;
  unsigned scopeId;
  long long timestamp;
  long long latencyUsec;
  int valueType;
  nvmlReturn_t nvmlReturn;
  union {
    double dVal;
    unsigned uiVal;
    unsigned long long ullVal;
  } value;
};
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t* values);
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long* reasons);
}

// Every NVML function this module calls; the table, its loading and the fake are made from this list.
#define FARSCALE_NVML_CALLS(X)        \
  X(nvmlInit_v2)                      \
  X(nvmlShutdown)                     \
  X(nvmlSystemGetDriverVersion)       \
  X(nvmlDeviceGetHandleByPciBusId_v2) \
  X(nvmlDeviceGetClockInfo)           \
  X(nvmlDeviceGetMaxClockInfo)        \
  X(nvmlDeviceGetPowerUsage)          \
  X(nvmlDeviceGetEnforcedPowerLimit)  \
  X(nvmlDeviceGetTemperature)         \
  X(nvmlDeviceGetFieldValues)         \
  X(nvmlDeviceGetCurrentClocksThrottleReasons)

namespace farscale::cuda {

struct NvmlCalls {
  FARSCALE_NVML_CALLS(FARSCALE_MEMBER)
};

// NVML's view of one GPU. Its calls fail softly: telemetry describes a sample and must never end it.
class Nvml {
 public:
  // `pci_bus_id` as cudaDeviceGetPCIBusId gives it. The reason when the driver's libnvidia-ml.so.1 is not there.
  static Maybe<std::unique_ptr<Nvml>> open(const std::string& pci_bus_id);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // sm_clock_hz, memory_clock_hz, power_w, power_limit_w, temperature_c, and throttle_reasons (NVML's bit mask) with a
  // throttle_<reason> of 1 for each reason that lowers the clock now. What NVML does not tell is left out.
  Telemetry sample() const;
  // Driver version, highest clocks, power limit.
  Facts facts() const;

 private:
  Nvml() = default;
  double power_w() const;
  std::unique_ptr<Library> library_;
  NvmlCalls calls_;
  bool initialised_ = false;
  nvmlDevice_t device_ = nullptr;
};

}  // namespace farscale::cuda
