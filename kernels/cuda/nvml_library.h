// NVML, opened at run time: clocks, power, temperature and the reasons for a lowered clock. Its functions are declared
// here by hand (from NVIDIA's public NVML API reference), because nvml.h comes with few packages.
#pragma once

#include <memory>
#include <optional>
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
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long* reasons);
struct nvmlTemperature_t {
  unsigned version;
  int sensorType;
  int temperature;
};
nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t* temperature);
}

// Every NVML function this module calls; the table, its loading and the fake are made from these lists.
#define FARSCALE_NVML_CALLS(X) \
  X(nvmlInit_v2)               \
  X(nvmlShutdown)              \
  X(nvmlDeviceGetHandleByPciBusId_v2)

// Each tells something of its own: nullptr where the library lacks it, and that is then left out. Throttle reasons and
// GetTemperature are the names before driver 535 and 570 of what follows them.
#define FARSCALE_NVML_OPTIONAL_CALLS(X)        \
  X(nvmlSystemGetDriverVersion)                \
  X(nvmlDeviceGetClockInfo)                    \
  X(nvmlDeviceGetMaxClockInfo)                 \
  X(nvmlDeviceGetPowerUsage)                   \
  X(nvmlDeviceGetEnforcedPowerLimit)           \
  X(nvmlDeviceGetFieldValues)                  \
  X(nvmlDeviceGetCurrentClocksThrottleReasons) \
  X(nvmlDeviceGetCurrentClocksEventReasons)    \
  X(nvmlDeviceGetTemperature)                  \
  X(nvmlDeviceGetTemperatureV)

namespace farscale::cuda {

struct NvmlCalls {
  FARSCALE_NVML_CALLS(FARSCALE_MEMBER)
  FARSCALE_NVML_OPTIONAL_CALLS(FARSCALE_MEMBER)
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
  std::optional<double> temperature_c() const;
  std::optional<unsigned long long> throttle_reasons() const;
  std::unique_ptr<Library> library_;
  NvmlCalls calls_;
  bool initialised_ = false;
  nvmlDevice_t device_ = nullptr;
};

}  // namespace farscale::cuda
