// What a test may ask of farscale-fake.so, and tell it. Opened like any module; this table is its second entry.
//
// The fake keeps device memory on the host, streams as lists of work with a clock of their own that counts what each
// piece of work is said to cost (so times are exact and the same on every machine, and are no measurement of anything),
// and computes products and collectives in plain loops.
#pragma once

#include <cstdint>

namespace farscale::fake {

enum class Devices : int { kNone = 0, kOldDriver = -35, kStubDriver = -34 };  // or how many there are

struct Candidate {
  double cost = 1;     // its time over the base time of the product
  bool fails = false;  // cublasLtMatmul answers CUBLAS_STATUS_EXECUTION_FAILED
  bool wrong = false;  // one entry of the product is off by one
};

struct Controls {
  void (*reset)();                                  // back to the beginning; what is alive stays counted
  void (*fail_call)(int64_t n);                     // the n-th call from now on fails, from 1; 0: none
  void (*fail_named)(const char* call, int64_t n);  // the n-th call of this function from now on fails
  int64_t (*calls)();                               // calls since reset()
  const char* (*failed_call)();                     // the call that was made to fail, "" when none was reached
  const char* (*alive)();                           // handles and memory not given back, "" when none
  int64_t (*communicators_aborted)();
  int64_t (*communicators_finalised)();
  int64_t (*group_threads)();      // NCCL groups that started a thread: those of several ranks without blocking
  void (*set_devices)(int count);  // or a value of Devices
  void (*set_capability)(int major, int minor);
  void (*set_memory)(int64_t bytes);
  void (*set_cache)(int64_t bytes);
  void (*hide_library)(const char* soname);         // does not open from now on
  void (*hide_symbol)(const char* name);            // is in no library from now on
  void (*set_loading)(int offered, double load_s);  // how many algorithms, and how long the host loads each at first
  void (*set_candidate)(int id,
                        Candidate candidate);  // algorithms 1 to 4; 2 is the fastest at first, 1 the first guess
  void (*set_tile)(int tile);                  // of every algorithm
  void (*set_async_error)(int nccl_result);    // what every communicator reports from now on
  void (*corrupt_products)(int64_t n);         // in the n-th product from now on one entry is off by one
  void (*set_clock)(unsigned mhz, uint64_t throttle_reasons);  // what NVML tells from now on
  void (*corrupt_collectives)(bool on);                        // the last byte of what rank 0 receives is changed
  void (*corrupt_convolutions)(bool on);                       // one entry of every result is off by one
  void (*set_nccl)(int version, bool windows);                 // 23004 for 2.30.4; whether symmetric windows exist
};

}  // namespace farscale::fake

extern "C" const farscale::fake::Controls* farscale_fake();
