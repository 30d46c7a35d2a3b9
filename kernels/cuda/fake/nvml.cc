// A fake NVML: one GPU, whose clock is held down by its power limit unless a test says otherwise.
#include <cstdio>

#include "kernels/cuda/fake/state.h"
#include "kernels/cuda/nvml_library.h"

using farscale::fake::count_alive;
using farscale::fake::fails;
using farscale::fake::state;

namespace {

constexpr nvmlReturn_t kUnknown = 999;  // NVML_ERROR_UNKNOWN

template <typename Value>
nvmlReturn_t answer(const char* call, Value* to, Value value) {
  if (fails(call)) return kUnknown;
  *to = value;
  return 0;
}

}  // namespace

extern "C" {

nvmlReturn_t nvmlInit_v2() {
  if (fails("nvmlInit_v2")) return kUnknown;
  count_alive("NVML session", 1);
  return 0;
}

nvmlReturn_t nvmlShutdown() {
  const bool failing = fails("nvmlShutdown");
  count_alive("NVML session", -1);
  return failing ? kUnknown : 0;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length) {
  if (fails("nvmlSystemGetDriverVersion")) return kUnknown;
  std::snprintf(version, length, "0.0 (fake)");
  return 0;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char*, nvmlDevice_t* device) {
  return answer("nvmlDeviceGetHandleByPciBusId_v2", device, static_cast<nvmlDevice_t>(nullptr));
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t, int clock, unsigned* mhz) {
  return answer("nvmlDeviceGetClockInfo", mhz, clock == 1 ? state().machine.clock_mhz : 2600U);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t, int clock, unsigned* mhz) {
  return answer("nvmlDeviceGetMaxClockInfo", mhz, clock == 1 ? 1980U : 2600U);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t, unsigned* milliwatts) {
  return answer("nvmlDeviceGetPowerUsage", milliwatts, 650000U);
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t, int, nvmlFieldValue_t* value) {
  value->nvmlReturn = 0;
  return answer("nvmlDeviceGetFieldValues", &value->value.uiVal, 640000U);
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t, unsigned* milliwatts) {
  return answer("nvmlDeviceGetEnforcedPowerLimit", milliwatts, 700000U);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t, int, unsigned* celsius) {
  return answer("nvmlDeviceGetTemperature", celsius, 55U);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t, unsigned long long* reasons) {
  return answer("nvmlDeviceGetCurrentClocksThrottleReasons", reasons,
                static_cast<unsigned long long>(state().machine.throttle_reasons));
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t, unsigned long long* reasons) {
  return answer("nvmlDeviceGetCurrentClocksEventReasons", reasons,
                static_cast<unsigned long long>(state().machine.throttle_reasons));
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t, nvmlTemperature_t* temperature) {
  if (temperature->version != (sizeof *temperature | 1U << 24) || temperature->sensorType != 0) return 2;
  return answer("nvmlDeviceGetTemperatureV", &temperature->temperature, 55);
}

}  // extern "C"
