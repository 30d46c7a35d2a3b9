// A switch in user space that delays every frame: kernels without netem have no other way. Its ports are TAP devices
// tap0, tap1, …, which scripts/testbed hands to the hosts; port i is the host with the address 02:00:00:00:00:<i>.
// What a host sends passes its port at the port's rate, without bursts (tc's tbf would let a frame pass at once after
// every pause, and so hide latency), and arrives a delay later.
//
//   testbed_switch DELAY RATE...    one way, such as 2ms or 500us; bits/s of every port. Says "ready" once they exist.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLargestFrame = 9018 + 4;  // 9000 of data, Ethernet's header, a VLAN tag

struct Port {
  int file;
  double bits_per_s;
  Clock::time_point free;  // when the last frame has passed
};

struct Frame {
  size_t from;
  std::vector<unsigned char> bytes;
};

using Flying = std::multimap<Clock::time_point, Frame>;  // by arrival

int open_port(size_t number) {
  const int port = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request = {};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "tap%zu", number);
  if (port < 0 || ::ioctl(port, TUNSETIFF, &request) < 0) {
    std::perror("/dev/net/tun");
    std::exit(1);
  }
  return port;
}

std::chrono::nanoseconds parse_delay(const std::string& text) {
  const double value = std::atof(text.c_str());
  return std::chrono::nanoseconds(static_cast<int64_t>(value * (text.ends_with("us") ? 1e3 : 1e6)));
}

// To the port of the frame's destination, or to all others when that is a group address.
void deliver(const Frame& frame, const std::vector<Port>& ports) {
  const bool group = (frame.bytes[0] & 1) != 0;
  for (size_t port = 0; port < ports.size(); ++port) {
    if (port == frame.from || !(group || frame.bytes[5] == port)) continue;
    [[maybe_unused]] const auto lost = ::write(ports[port].file, frame.bytes.data(), frame.bytes.size());
  }
}

void receive(size_t from, Port& port, std::chrono::nanoseconds delay, Flying& flying) {
  unsigned char buffer[kLargestFrame];
  for (ssize_t size = 0; (size = ::read(port.file, buffer, sizeof buffer)) >= 14;) {
    const double passing_s = 8 * static_cast<double>(size) / port.bits_per_s;
    port.free = std::max(port.free, Clock::now()) + std::chrono::nanoseconds(static_cast<int64_t>(1e9 * passing_s));
    flying.insert({port.free + delay, {from, {buffer, buffer + size}}});
  }
}

// Until the next frame arrives; a second when none is on its way.
timespec patience(const Flying& flying) {
  if (flying.empty()) return {.tv_sec = 1, .tv_nsec = 0};
  const auto until = std::max<int64_t>(0, (flying.begin()->first - Clock::now()).count());
  return {.tv_sec = until / 1'000'000'000, .tv_nsec = until % 1'000'000'000};
}

void serve(std::vector<Port>& ports, std::chrono::nanoseconds delay) {
  std::vector<pollfd> waits;
  for (const Port& port : ports) waits.push_back({.fd = port.file, .events = POLLIN, .revents = 0});
  Flying flying;
  while (true) {
    for (; !flying.empty() && flying.begin()->first <= Clock::now(); flying.erase(flying.begin())) {
      deliver(flying.begin()->second, ports);
    }
    const timespec left = patience(flying);
    if (::ppoll(waits.data(), waits.size(), &left, nullptr) <= 0) continue;
    for (size_t port = 0; port < ports.size(); ++port) {
      if ((waits[port].revents & POLLIN) != 0) receive(port, ports[port], delay, flying);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "expected: %s DELAY RATE..., such as 2ms 40000000 40000000\n", words[0]);
    return 2;
  }
  std::vector<Port> ports;
  for (int i = 2; i < count; ++i) ports.push_back({open_port(ports.size()), std::atof(words[i]), Clock::now()});
  std::puts("ready");
  std::fflush(stdout);
  serve(ports, parse_delay(words[1]));
}
