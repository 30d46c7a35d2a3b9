// TCP.
#include "kernels/socket/connection.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

namespace farscale {
namespace {

using Clock = std::chrono::steady_clock;

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// An empty host means every address of this machine.
Addresses addresses_of(const std::string& host, int port, std::string& why_not) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (host.empty() ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (code != 0) why_not = ::gai_strerror(code);
  return Addresses(list);
}

void set_option(int fd, int level, int option, int value) {
  (void)::setsockopt(fd, level, option, &value, sizeof value);  // none of them is needed for right results
}

// Small messages leave at once; a host that vanished without a word is found out within a minute.
void tune(int fd) {
  constexpr int kSilence_s = 20, kProbes = 4, kBetween_s = 10, kUnanswered_ms = 60'000;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kSilence_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kBetween_s);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnanswered_ms);
}

Connection listen_on(const addrinfo& address, std::string& why_not) {
  Connection listener(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (listener.open()) {
    set_option(listener.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.ai_family == AF_INET6) set_option(listener.fd(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    const bool bound = ::bind(listener.fd(), address.ai_addr, address.ai_addrlen) == 0;
    if (bound && ::listen(listener.fd(), SOMAXCONN) == 0) return listener;
  }
  why_not = std::strerror(errno);
  return {};
}

Connection connect_once(const addrinfo* addresses, std::string& why_not) {
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    Connection connection(::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connection.open() && ::connect(connection.fd(), address->ai_addr, address->ai_addrlen) == 0) {
      tune(connection.fd());
      return connection;
    }
    why_not = std::strerror(errno);
  }
  return {};
}

[[noreturn]] void fail_transfer(const char* call, ssize_t moved) {
  if (moved == 0) throw LostConnection(fmt::format("{}: the connection was closed", call));
  const int code = errno;
  if (code == EAGAIN || code == EWOULDBLOCK) throw CallError(fmt::format("{}: nothing moved in time", call));
  throw LostConnection(fmt::format("{}: {} (errno {})", call, std::strerror(code), code));
}

}  // namespace

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

void Connection::set_patience(double seconds) const {
  const auto whole = static_cast<time_t>(seconds);
  const timeval patience{.tv_sec = whole, .tv_usec = static_cast<suseconds_t>((seconds - double(whole)) * 1e6)};
  (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

void Connection::send(const void* data, size_t bytes) const {
  const auto* from = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t moved = ::send(fd_, from, bytes, MSG_NOSIGNAL);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) fail_transfer("send", moved);
    from += moved;
    bytes -= static_cast<size_t>(moved);
  }
}

void Connection::receive(void* data, size_t bytes) const {
  auto* to = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const ssize_t moved = ::recv(fd_, to, bytes, 0);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) fail_transfer("recv", moved);
    to += moved;
    bytes -= static_cast<size_t>(moved);
  }
}

Connection listen_at(const std::string& host, int port) {
  const bool loopback = host == "localhost" || host == "::1" || host.starts_with("127.");
  std::string why_not;
  const Addresses addresses = addresses_of(loopback ? host : "", port, why_not);
  for (const int family : {AF_INET6, AF_INET}) {  // an IPv6 listener takes both, where the system has IPv6
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
      if (address->ai_family != family) continue;
      Connection listener = listen_on(*address, why_not);
      if (listener.open()) return listener;
    }
  }
  throw EnvironmentError(
      fmt::format("rank 0 cannot listen at port {}: {}; set MASTER_PORT to a free port of {}", port, why_not, host));
}

Connection connect_to(const std::string& host, int port, double patience_s) {
  std::string why_not;
  for (const auto start = Clock::now(); Clock::now() - start < std::chrono::duration<double>(patience_s);) {
    const Addresses addresses = addresses_of(host, port, why_not);
    if (addresses) {
      Connection connection = connect_once(addresses.get(), why_not);
      if (connection.open()) return connection;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  throw EnvironmentError(
      fmt::format("rank 0 did not answer at {} port {} within {:.0f} s: {}; is MASTER_ADDR its host, "
                  "and was rank 0 started?",
                  host, port, patience_s, why_not));
}

Connection next_of(const Connection& listener, double patience_s) {
  pollfd wait{.fd = listener.fd(), .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, static_cast<int>(patience_s * 1e3)) <= 0) return {};
  Connection connection(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection.open()) tune(connection.fd());
  return connection;
}

}  // namespace farscale
