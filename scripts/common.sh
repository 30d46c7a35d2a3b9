# Shared by the scripts: steps that show their time, packages that install themselves, and where the build lies.
# Sourced, not run. Needs bash only: on a bare machine it is all there is.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build

# A compiler cache, where there is one, saves the builds that repeat each other.
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
fi

# step "text": starts a numbered step; steps_total is set by the caller.
step_number=0
step() {
  step_number=$((step_number + 1))
  printf '\n[%d/%d] %s\n' "$step_number" "${steps_total:-0}" "$1" >&2
}

say() { printf '      %s\n' "$*" >&2; }

fail() {
  printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 3
}

# quiet LOG command...: the command's output goes to LOG; on failure its end is shown.
quiet() {
  local log=$1
  shift
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "failed: $* (whole output: $log)"
  fi
}

# Packages are Debian's and Ubuntu's names. Optional ones add a measurement or a check; without them the rest works.
# clang-format and clang-tidy have their version in their names because versions disagree; Debian 12 and Ubuntu 24.04
# both have 14.
build_packages=(g++ cmake ninja-build python3 libfmt-dev libcli11-dev nlohmann-json3-dev libtomlplusplus-dev
  libeigen3-dev libbenchmark-dev libopenblas-dev libopenmpi-dev openmpi-bin)
build_packages_optional=(libdnnl-dev)
test_packages=(libgtest-dev libgmock-dev)
test_packages_optional=(ccache mpich libmpich-dev libbenchmark-tools python3-scipy clang-format-14
  clang-tidy-14 iproute2 procps)

installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -q '^installed$'; }

missing_of() {
  local package
  for package in "$@"; do
    installed "$package" || printf '%s\n' "$package"
  done
}

# install_packages "required ..." "optional ...": installs what is missing with apt-get, as root or through sudo;
# where neither is to be had, says exactly what to type and stops.
install_packages() {
  local required optional package as_root=()
  command -v dpkg-query >/dev/null || {
    say "not Debian or Ubuntu: assuming that these are installed: $1"
    return 0
  }
  # shellcheck disable=SC2086
  required=$(missing_of $1) optional=$(missing_of $2)
  if [ -z "$required$optional" ]; then
    say "nothing is missing"
    return 0
  fi
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo)
    elif command -v sudo >/dev/null && [ -t 0 ]; then
      as_root=(sudo)
    elif [ -n "$required" ]; then
      fail "missing packages, and no right to install them. As root, type:
  apt-get update && apt-get install -y --no-install-recommends ${required//$'\n'/ } ${optional//$'\n'/ }"
    else
      say "optional packages are missing (fewer measurements or checks): ${optional//$'\n'/ }"
      return 0
    fi
  fi
  quiet /tmp/farscale-apt-update.log "${as_root[@]}" apt-get update
  local found=()
  for package in $optional; do
    apt-cache show "$package" >/dev/null 2>&1 && found+=("$package")
  done
  # shellcheck disable=SC2086
  set -- $required "${found[@]}"
  [ $# -gt 0 ] || return 0
  say "installing: $*"
  quiet /tmp/farscale-apt-install.log "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"
}

# Configures and builds one preset; further arguments go to cmake. $targets, where set, limits what is built.
build_preset() {
  local preset=$1 folder=$2
  shift 2
  mkdir -p "$folder"
  quiet "$folder/configure.log" cmake --preset "$preset" -S "$root" "$@"
  if [ -t 2 ]; then
    cmake --build "$folder" ${targets:+--target $targets} >&2 || fail "the build failed"
  else
    quiet "$folder/build.log" cmake --build "$folder" ${targets:+--target $targets}
  fi
}

# Cores this process may use: containers and taskset restrict them below what the machine has.
cores() { nproc; }
