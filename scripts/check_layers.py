#!/usr/bin/env python3
"""Who may include whom: holds the include rule of ARCHITECTURE.md over every source file of the project; and one
definition a name: no two files define types of the same name that the linker would take for one.

Prints each broken rule with its place, the reason and the likely fix; exits 1 if there is one.
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Room -> rooms whose headers it may include. A room may always include itself.
MAY_INCLUDE = {
    "kernels": set(),
    "kernels/host": {"kernels"},
    "kernels/mpi": {"kernels"},
    "kernels/socket": {"kernels"},
    "kernels/cuda": {"kernels"},
    "results": {"kernels"},
    "workloads": {"kernels"},
    "bench": {"kernels", "results", "workloads"},
    "cluster": {"kernels", "results", "workloads"},
    "farscale.cc": {"kernels", "results", "bench", "cluster"},
}

# Headers that stay behind one door: pattern -> (rooms that may use it, reason).
FENCED = {
    r"toml\+\+": ({"kernels"}, "TOML is read through kernels/strict_toml.h, so that every unknown key is an error"),
    r"benchmark/benchmark\.h": ({"bench"}, "Google Benchmark lives in bench, fenced in"),
    r"mpi\.h": ({"kernels/mpi", "bench"}, "MPI is a module opened at run time (bench: the overhead programs only)"),
    r"(cblas|openblas_config|dnnl.*)\.h(pp)?": ({"kernels/host", "bench"},
                                                "BLAS is a module opened at run time (bench: the overhead programs only)"),
    r"(cuda|cublas|nccl|nvml|cudnn)\w*\.h": ({"kernels/cuda", "bench"},
                                              "CUDA is a module opened at run time (bench: the overhead programs only)"),
}

# Heavy headers: only in .cc files.
HEAVY = re.compile(r"(nlohmann/json\.hpp|CLI/CLI\.hpp)")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')

# clang-format keeps the inside of a namespace at the margin and names the namespace that a brace ends, so lines will do.
NAMESPACE = re.compile(r"namespace (?:(farscale[\w:]*) )?\{")
NAMESPACE_END = re.compile(r"\}  // namespace(?: farscale[\w:]*)?$")
TYPE = re.compile(r"(?:template <.*> )?(?:class|struct|union|enum(?: class)?) (?:\[\[.*?\]\] |alignas\(.*?\) )*"
                  r"(\w[\w:]*(?:<.*>)?)(?![^{]*;)")


def room_of(path):
    parts = path.parts
    if len(parts) == 1:
        return parts[0]
    if parts[0] == "kernels" and len(parts) > 2 and parts[1] in ("host", "mpi", "socket", "cuda"):
        return f"kernels/{parts[1]}"
    return parts[0]


def broken_rules(path, text):
    room = room_of(path)
    in_test = "tests" in path.parts
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(2)
        place = f"{path}:{number}"
        target_path = pathlib.PurePosixPath(target)
        if match.group(1) == '"' and (ROOT / target).exists():
            other = room_of(target_path)
            if other != room and other not in MAY_INCLUDE.get(room, set()):
                allowed = ", ".join(sorted(MAY_INCLUDE.get(room, set()))) or "nothing"
                yield (f"{place}: {room} includes {target}, but may include only {allowed}\n"
                       f"  why: rooms meet in values and files, so that each can be built and tested alone\n"
                       f"  fix: move what is shared down (kernels or results), or pass it in as a value")
        for pattern, (rooms, reason) in FENCED.items():
            if re.match(pattern, target) and room not in rooms:
                yield f"{place}: {room} includes {target}\n  why: {reason}\n  fix: use it from {', '.join(sorted(rooms))}"
        if HEAVY.search(target) and path.suffix in (".h", ".cu", ".cuh") and not in_test:
            yield f"{place}: a header includes {target}\n  why: it costs seconds in every file\n  fix: include it in the .cc file"


def types_of(path, text):
    """The types that other files could see or clash with: (full name, place), outside anonymous namespaces."""
    spaces = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := NAMESPACE.match(line):
            spaces.append(match.group(1))
        elif NAMESPACE_END.match(line):
            spaces.pop()
        elif (match := TYPE.match(line)) and None not in spaces:
            yield "::".join([*spaces, match.group(1)]), f"{path}:{number}"


def defined_twice(texts):
    """Types of one name defined in more than one of the files (path -> text)."""
    places = collections.defaultdict(list)
    for path, text in texts.items():
        for name, place in types_of(path, text):
            places[name].append(place)
    for name, (first, *others) in places.items():
        for other in others:
            yield (f"{other}: {name} is defined in {first} too\n"
                   f"  why: the linker takes both for one type, and runs the functions of one on objects of the other\n"
                   f"  fix: rename one, or put one that only its .cc file uses into an anonymous namespace")


def self_test():
    """Each rule catches a file that breaks it, and lets a good one pass."""
    good = [("bench/a.cc", '#include "results/record.h"'), ("kernels/host/a.cc", "#include <cblas.h>"),
            ("cluster/a.cc", "#include <nlohmann/json.hpp>")]
    bad = [("cluster/a.cc", '#include "bench/commands.h"'), ("kernels/a.cc", '#include "results/record.h"'),
           ("cluster/a.cc", "#include <cuda_runtime.h>"), ("workloads/a.cc", "#include <toml++/toml.h>"),
           ("cluster/a.cc", "#include <mpi.h>"), ("results/a.h", "#include <nlohmann/json.hpp>"),
           ("cluster/a.cc", "#include <benchmark/benchmark.h>")]
    wrong = [f"{p} {t}" for p, t in good if list(broken_rules(pathlib.PurePosixPath(p), t))]
    wrong += [f"{p} {t}" for p, t in bad if not list(broken_rules(pathlib.PurePosixPath(p), t))]
    hidden = "namespace farscale {\nnamespace {\nstruct A {};\n}  // namespace\n}  // namespace farscale\n"
    seen = "namespace farscale {\nstruct B;\nstruct A {\n};\n}  // namespace farscale\n"
    if list(defined_twice({"a.cc": hidden, "b.cc": hidden, "c.h": seen, "d.h": seen.replace("farscale", "farscale::fake")})):
        wrong.append("types that do not clash are refused")
    if len(list(defined_twice({"a.h": seen, "b.h": seen, "c.cc": seen.replace("struct A", "class A final : public B")}))) != 2:
        wrong.append("types of one name pass")
    print("\n".join(wrong) or "every rule holds")
    return 1 if wrong else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    files = [p.relative_to(ROOT) for p in ROOT.rglob("*")
             if p.suffix in (".h", ".cc", ".cu", ".cuh") and "build" not in p.relative_to(ROOT).parts]
    known = [f for f in files if room_of(f) in MAY_INCLUDE]
    if len(known) < 10:
        sys.exit(f"only {len(known)} source files found below {ROOT}: the check itself is broken")
    texts = {f: (ROOT / f).read_text(encoding="utf-8") for f in sorted(known)}
    problems = [problem for f, text in texts.items() for problem in broken_rules(f, text)] + list(defined_twice(texts))
    for problem in problems:
        print(problem)
    print(f"{len(known)} files, {len(problems)} broken rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
