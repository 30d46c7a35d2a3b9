#include "kernels/strict_toml.h"
