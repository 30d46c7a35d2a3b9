// The real seam to dlopen. The libraries stay mapped (RTLD_NODELETE): cuBLASLt and NCCL start threads and register exit
// handlers, and do not survive being unmapped.
#include <dlfcn.h>

#include "kernels/cuda/library.h"

namespace farscale::cuda {

void* Loader::open(const std::string& soname, std::string& why_not) {
  void* handle = ::dlopen(soname.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) why_not = ::dlerror();
  return handle;
}

void* Loader::symbol(void* library, const char* name) { return ::dlsym(library, name); }

void Loader::close(void* library) noexcept { (void)::dlclose(library); }

}  // namespace farscale::cuda
