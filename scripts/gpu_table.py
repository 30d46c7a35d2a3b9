#!/usr/bin/env python3
"""One table of a run on a GPU: ours, torch's and their ratio for every product, then collectives and memory passes.

    gpu_table.py NODE.json... --cases NAMES... --torch TORCH.json --characterised SECONDS --table FILE

Writes the table to FILE and prints "PASSED FAILED". A case that is right passes; one that is wrong, failed or was not
reached (in NAMES, one a line, and not in the results) fails; where torch multiplied the same shape, being slower than
torch beyond the spread of both, in burst or sustained, fails too. Then the limits of the whole are judged, as far as
there are figures: memory passes over 256 MiB against the copy of the same run, the median of all products against torch,
products that torch should have multiplied, and how long the products took. NODE.json are result files of farscale run,
TORCH.json what gpu_torch.py writes; it may be missing.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys

COPY_SHARE, LARGE_BYTES = 0.92, 256 << 20  # of the copy bandwidth, on Hopper and newer
MEDIAN_OVER_TORCH = 1.02
CHARACTERISED_S, CHARACTERISED_CASES = 180, 200  # 50 shapes in four types


def spread(samples):
    """Half the 95 % interval of the median over the median, from the quartiles (McGill, Tukey, Larsen, 1978)."""
    if len(samples) < 4:
        return 0.05
    low, _, high = statistics.quantiles(samples, n=4)
    return 1.57 * (high - low) / math.sqrt(len(samples)) / statistics.median(samples)


def records(path):
    """The cases of a result file, one each: its rows repeat them."""
    cases = {}
    for row in json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["benchmarks"]:
        if "farscale" in row:
            cases.setdefault(row["farscale"].get("name", row.get("run_name", row["name"])), row["farscale"])
    return cases


def time_text(seconds):
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rate_text(case):
    rates = case.get("counters", {})
    for key, scale, unit in (("flops_per_s", 1e12, "TFLOP/s"), ("bus_bytes_per_s", 1e9, "bus GB/s"),
                             ("bytes_per_s", 1e9, "GB/s")):
        if key in rates:
            return f"{rates[key] / scale:.4g} {unit}"
    return ""


def paces(case):
    """(median, samples) of rank 0, on whose GPU torch runs: burst, and sustained where it was measured."""
    series = case.get("series_s", {})
    sustained = (case.get("rank_medians_s") or [statistics.median(case["samples_s"])])[0], case["samples_s"]
    if not series.get("burst"):
        return {"burst": sustained}
    burst = (series.get("burst_rank_medians") or [statistics.median(series["burst"])])[0], series["burst"]
    return {"burst": burst, "sustained": sustained}


def against_torch(case, other):
    """Torch's time over ours for each pace, and whether that is beyond doubt less than one."""
    ratios, slower = {}, []
    for pace, (ours, samples) in paces(case).items():
        theirs = other[pace + "_s"]
        ratios[pace] = statistics.median(theirs) / ours
        if ratios[pace] < 1 - spread(samples) - spread(theirs):
            slower.append(pace)
    return ratios, slower


def row_of(name, case, other):
    """(name, ours, torch, burst ratio, sustained ratio, remark), the ratios, and whether it passed."""
    if case["status"] != "ok" or not case.get("samples_s"):
        return (name, "-", "-", "-", "-", f"{case['status'].upper()}: {case.get('reason', '')}"), {}, False
    ours = time_text(list(paces(case).values())[-1][0])
    if other is None:
        return (name, ours, "-", "-", "-", rate_text(case)), {}, True
    ratios, slower = against_torch(case, other)
    remark = rate_text(case) + (f"  SLOWER THAN TORCH ({', '.join(slower)})" if slower else "")
    shown = [f"{ratios[pace]:.3f}" if pace in ratios else "-" for pace in ("burst", "sustained")]
    last = list(ratios)[-1]
    return (name, ours, time_text(statistics.median(other[last + "_s"])), *shown, remark), ratios, not slower


def table_text(rows):
    rows = [("case", "ours", "torch", "burst", "sustained", "torch/ours")] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join([row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in range(1, 5)] +
                               [row[5]]).rstrip() for row in rows) + "\n"


def judge_copy(cases):
    """Every memory pass over 256 MiB against the best copy of the same run."""
    rates = {name: case["counters"]["bytes_per_s"] for name, case in cases.items()
             if case["status"] == "ok" and (case.get("problem") or {}).get("kind") == "memory" and
             case.get("counters", {}).get("bytes_per_s") and case["counters"].get("bytes_per_s") *
             statistics.median(case["samples_s"]) > LARGE_BYTES}
    copies = [rate for name, rate in rates.items() if cases[name]["problem"].get("pass") == "copy"]
    others = {name: rate for name, rate in rates.items() if cases[name]["problem"].get("pass") != "copy"}
    if not copies or not others:
        return
    name = min(others, key=others.get)
    share = others[name] / max(copies)
    yield (share >= COPY_SHARE, f"memory passes over 256 MiB: the slowest, {name}, has {share:.1%} of the copy bandwidth "
                                f"(limit {COPY_SHARE:.0%})")


def judge_torch(torch, ratios):
    missing = torch.get("missing", [])
    if missing:
        yield False, (f"{len(missing)} products were not compared with torch: " +
                      "; ".join(f"{one['name']}: {one['reason']}" for one in missing[:3]))
    for pace, all_of_it in ratios.items():
        middle = statistics.median(all_of_it)
        yield (middle >= MEDIAN_OVER_TORCH, f"{len(all_of_it)} products against torch, {pace}: median {middle:.3f} (limit "
               f"{MEDIAN_OVER_TORCH}), lowest {min(all_of_it):.3f}, highest {max(all_of_it):.3f} times its speed")


def judge_time(cases, seconds):
    count = sum(1 for case in cases.values() if case.get("series_s", {}).get("burst"))
    if seconds is None or count < CHARACTERISED_CASES:
        return
    yield (seconds <= CHARACTERISED_S, f"{count} products characterised, burst and sustained, in {seconds:g} s (limit "
                                       f"{CHARACTERISED_S} s)")


def load(paths):
    cases, failures = {}, []
    for path in paths:
        try:
            cases |= records(path)
        except (OSError, ValueError, KeyError) as error:
            failures.append((False, f"{path}: {type(error).__name__} {error}"))
    return cases, failures


def not_reached(cases, lists):
    names = [name for path in lists for name in pathlib.Path(path).read_text(encoding="utf-8").split("\n") if name]
    missing = [name for name in names if name not in cases]
    return [(False, f"not reached: {name}") for name in missing]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="*")
    parser.add_argument("--cases", nargs="*", default=[])
    parser.add_argument("--torch", required=True)
    parser.add_argument("--characterised", type=float)
    parser.add_argument("--table", required=True)
    arguments = parser.parse_args()
    cases, verdicts = load(arguments.nodes)
    path = pathlib.Path(arguments.torch)
    torch = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    theirs = {row["name"]: row for row in torch["rows"]}
    rows, passed, ratios, skipped = [], 0, {}, {}
    for name, case in cases.items():
        if case["status"] == "skipped":
            skipped.setdefault(case.get("reason", ""), []).append(name)
            continue
        row, of_this, fine = row_of(name, case, theirs.get(name))
        rows.append(row)
        passed += fine
        for pace, ratio in of_this.items():
            ratios.setdefault(pace, []).append(ratio)
    verdicts += not_reached(cases, arguments.cases)
    verdicts += [*judge_copy(cases), *judge_torch(torch, ratios), *judge_time(cases, arguments.characterised)]
    lines = [("ok      " if fine else "FAILED  ") + text for fine, text in verdicts]
    lines += [f"skipped {len(names)} cases: {reason}" for reason, names in skipped.items()]
    if not theirs:
        lines.append(f"no product was compared with torch ({arguments.torch} is missing or empty)")
    pathlib.Path(arguments.table).write_text(table_text(rows) + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    right = passed + sum(fine for fine, _ in verdicts)
    failed = len(rows) - passed + sum(not fine for fine, _ in verdicts)
    print(right, failed + (0 if rows else 1))


if __name__ == "__main__":
    sys.exit(main())
