// Reading NVML. Numbers of clocks, sensors and reasons: NVML API reference (nvmlClockType_t, nvmlTemperatureSensors_t,
// nvmlClocksEventReasons).
#include "kernels/cuda/nvml_library.h"

#include <fmt/format.h>

#include <array>

namespace farscale::cuda {
namespace {

using Opened = Maybe<std::unique_ptr<Nvml>>;

constexpr int kClockSm = 1;
constexpr int kClockMemory = 2;
constexpr int kSensorGpu = 0;
constexpr unsigned kTemperatureVersion = sizeof(nvmlTemperature_t) | 1U << 24;
constexpr unsigned kPowerNow = 186;  // NVML_FI_DEV_POWER_INSTANT; nvmlDeviceGetPowerUsage is a mean over a second

// Whether the library has a function and it succeeded.
template <typename Function, typename... Arguments>
bool tells(Function function, Arguments... arguments) {
  return function != nullptr && function(arguments...) == 0;
}

struct Reason {
  unsigned long long bit;
  const char* name;
};
// GPU idle (1) and application clocks (2) are no throttling; the others lower the clock below what was asked for.
constexpr std::array<Reason, 6> kReasons = {{{0x04, "throttle_sw_power_cap"},
                                             {0x08, "throttle_hw_slowdown"},
                                             {0x10, "throttle_sync_boost"},
                                             {0x20, "throttle_sw_thermal"},
                                             {0x40, "throttle_hw_thermal"},
                                             {0x80, "throttle_hw_power_brake"}}};

}  // namespace

Opened Nvml::open(const std::string& pci_bus_id) {
  auto library = Library::open({"libnvidia-ml.so.1"}, "it comes with the NVIDIA driver");
  if (!library) return Opened::absent(library.reason());
  std::unique_ptr<Nvml> nvml(new Nvml());
  nvml->library_ = std::move(*library);
  std::string missing;
#define FARSCALE_FIND(call) \
  if (!nvml->library_->find(#call, nvml->calls_.call)) missing = #call;
  FARSCALE_NVML_CALLS(FARSCALE_FIND)
#undef FARSCALE_FIND
#define FARSCALE_FIND_OPTIONAL(call) (void)nvml->library_->find(#call, nvml->calls_.call);
  FARSCALE_NVML_OPTIONAL_CALLS(FARSCALE_FIND_OPTIONAL)
#undef FARSCALE_FIND_OPTIONAL
  if (!missing.empty()) return Opened::absent(fmt::format("libnvidia-ml.so.1 has no {}", missing));
  nvmlReturn_t status = nvml->calls_.nvmlInit_v2();
  if (status != 0) return Opened::absent(fmt::format("nvmlInit_v2() failed: {}", status));
  nvml->initialised_ = true;
  status = nvml->calls_.nvmlDeviceGetHandleByPciBusId_v2(pci_bus_id.c_str(), &nvml->device_);
  if (status != 0) {
    return Opened::absent(fmt::format("nvmlDeviceGetHandleByPciBusId_v2({}) failed: {}", pci_bus_id, status));
  }
  return nvml;
}

Nvml::~Nvml() {
  if (initialised_) (void)calls_.nvmlShutdown();
}

// At this moment; on GPUs that cannot tell, the mean of the last second. 0 where neither is told.
double Nvml::power_w() const {
  nvmlFieldValue_t now{};
  now.fieldId = kPowerNow;
  if (tells(calls_.nvmlDeviceGetFieldValues, device_, 1, &now) && now.nvmlReturn == 0) return now.value.uiVal / 1e3;
  unsigned milliwatts = 0;
  return tells(calls_.nvmlDeviceGetPowerUsage, device_, &milliwatts) ? milliwatts / 1e3 : 0;
}

std::optional<double> Nvml::temperature_c() const {
  unsigned celsius = 0;
  if (tells(calls_.nvmlDeviceGetTemperature, device_, kSensorGpu, &celsius)) return celsius;
  nvmlTemperature_t now{.version = kTemperatureVersion, .sensorType = kSensorGpu, .temperature = 0};
  if (tells(calls_.nvmlDeviceGetTemperatureV, device_, &now)) return now.temperature;
  return std::nullopt;
}

std::optional<unsigned long long> Nvml::throttle_reasons() const {
  unsigned long long reasons = 0;
  if (tells(calls_.nvmlDeviceGetCurrentClocksEventReasons, device_, &reasons)) return reasons;
  if (tells(calls_.nvmlDeviceGetCurrentClocksThrottleReasons, device_, &reasons)) return reasons;
  return std::nullopt;
}

Telemetry Nvml::sample() const {
  Telemetry telemetry;
  unsigned value = 0;
  if (tells(calls_.nvmlDeviceGetClockInfo, device_, kClockSm, &value)) telemetry["sm_clock_hz"] = value * 1e6;
  if (tells(calls_.nvmlDeviceGetClockInfo, device_, kClockMemory, &value)) telemetry["memory_clock_hz"] = value * 1e6;
  if (const double watts = power_w(); watts > 0) telemetry["power_w"] = watts;
  if (tells(calls_.nvmlDeviceGetEnforcedPowerLimit, device_, &value)) telemetry["power_limit_w"] = value / 1e3;
  if (const auto celsius = temperature_c()) telemetry["temperature_c"] = *celsius;
  if (const auto reasons = throttle_reasons()) {
    telemetry["throttle_reasons"] = static_cast<double>(*reasons);
    for (const Reason& reason : kReasons) {
      if ((*reasons & reason.bit) != 0) telemetry[reason.name] = 1;
    }
  }
  return telemetry;
}

Facts Nvml::facts() const {
  Facts facts;
  std::array<char, 96> driver{};  // NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE is 80
  if (tells(calls_.nvmlSystemGetDriverVersion, driver.data(), static_cast<unsigned>(driver.size()))) {
    facts["driver"] = driver.data();
  }
  unsigned value = 0;
  if (tells(calls_.nvmlDeviceGetMaxClockInfo, device_, kClockSm, &value)) {
    facts["sm_clock_max"] = fmt::format("{} MHz", value);
  }
  if (tells(calls_.nvmlDeviceGetMaxClockInfo, device_, kClockMemory, &value)) {
    facts["memory_clock_max"] = fmt::format("{} MHz", value);
  }
  if (tells(calls_.nvmlDeviceGetEnforcedPowerLimit, device_, &value)) {
    facts["power_limit"] = fmt::format("{:.0f} W", value / 1e3);
  }
  return facts;
}

}  // namespace farscale::cuda
