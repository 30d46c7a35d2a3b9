// Linked into the programs of the sanitizer build: no library is ever unmapped. Open MPI and MPICH close their plug-ins
// when they end, and a leak from an unmapped library has no name left that cmake/leaks.supp could know it by.
extern "C" int dlclose(void* /*library*/) noexcept { return 0; }
