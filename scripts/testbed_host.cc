// What lets many hosts of the testbed share two cores, preloaded into every rank: a rank that waits sleeps until a
// packet comes instead of polling, and computes at a pace of its own, as a device with its own clock would.
#include <dlfcn.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

#include <cstdint>
#include <cstdlib>

namespace {

// Open MPI calls sched_yield when a turn of its progress engine found nothing (mpi_yield_when_idle), and then asks its
// sockets again without waiting. That question may wait this long: data ends it at once.
constexpr int kNap_ms = 1;
thread_local bool idle = false;

int patience(int timeout_ms) {
  const bool nap = idle && timeout_ms == 0;
  idle = false;
  return nap ? kNap_ms : timeout_ms;
}

// The function of this name that would have been called without this file.
template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// FLOP/s of every host, 0: as fast as it goes.
double pace() {
  const char* text = std::getenv("FARSCALE_TESTBED_PACE");
  return text == nullptr ? 0 : std::strtod(text, nullptr);
}

void sleep_until(timespec from, double seconds) {
  const int64_t until = from.tv_sec * 1'000'000'000 + from.tv_nsec + static_cast<int64_t>(seconds * 1e9);
  const timespec end = {.tv_sec = until / 1'000'000'000, .tv_nsec = until % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) != 0) {
  }
}

}  // namespace

extern "C" {

int sched_yield() noexcept {
  // Whoever yields again without asking sockets in between spins on something else.
  constexpr timespec kBreath = {.tv_sec = 0, .tv_nsec = 50'000};
  if (idle) nanosleep(&kBreath, nullptr);
  idle = true;
  return 0;
}

int poll(pollfd* files, nfds_t count, int timeout_ms) {
  static const auto real = next<int (*)(pollfd*, nfds_t, int)>("poll");
  return real(files, count, patience(timeout_ms));
}

int epoll_wait(int file, epoll_event* events, int most, int timeout_ms) {
  static const auto real = next<int (*)(int, epoll_event*, int, int)>("epoll_wait");
  return real(file, events, most, patience(timeout_ms));
}

// The product is computed, exactly; then the host waits until a device of this pace would be done.
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  static const auto real = next<decltype(&cblas_sgemm)>("cblas_sgemm");
  static const double flops_per_s = pace();
  timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  real(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  if (flops_per_s > 0) sleep_until(start, 2.0 * m * n * k / flops_per_s);
}

}  // extern "C"
