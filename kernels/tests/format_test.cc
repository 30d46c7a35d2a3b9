#include "kernels/format.h"
