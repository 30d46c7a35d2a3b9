// TCP connections between ranks: opened and used with deadlines, closed by their owner.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace farscale {

// The other side closed the connection, or it broke.
struct LostConnection : CallError {
  using CallError::CallError;
};

class Connection {
 public:
  Connection() = default;
  explicit Connection(int fd) : fd_(fd) {}
  ~Connection();
  Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Connection& operator=(Connection&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  bool open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  // The most a send or receive may wait for the other side's next bytes; later they throw CallError.
  void set_patience(double seconds) const;
  void send(const void* data, size_t bytes) const;  // all of it; throws LostConnection
  void receive(void* data, size_t bytes) const;     // all of it; throws LostConnection

 private:
  int fd_ = -1;
};

// Throw EnvironmentError naming host and port.
Connection listen_at(const std::string& host, int port);                      // on every address, or on loopback's
Connection connect_to(const std::string& host, int port, double patience_s);  // tries until somebody listens

// The next who connects, or a closed connection when nobody did in time.
Connection next_of(const Connection& listener, double patience_s);

}  // namespace farscale
