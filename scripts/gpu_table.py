#!/usr/bin/env python3
"""One table of a run on a GPU: ours, torch's and their ratio for every product, then collectives and memory passes.

    gpu_table.py NODE.json TORCH.json --table FILE

Writes the table to FILE and prints "PASSED FAILED": a case that is right passes, one that is wrong or failed fails;
where torch multiplied the same shape, being slower than torch beyond the spread of both fails too. TORCH.json may be
missing. NODE.json is a result file of farscale run; TORCH.json what gpu_torch.py writes.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys


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


def rows_of(cases, theirs):
    """(name, ours, theirs, ratio, remark) of each case, and whether it passed; skipped ones are left out."""
    for name, case in cases.items():
        if case["status"] == "skipped":
            continue
        if case["status"] != "ok" or not case.get("samples_s"):
            yield (name, "-", "-", "-", f"{case['status'].upper()}: {case.get('reason', '')}"), None, False
            continue
        ours = statistics.median(case["samples_s"])
        other = theirs.get(name)
        if other is None:
            yield (name, time_text(ours), "-", "-", rate_text(case)), None, True
            continue
        torch_s = statistics.median(other["samples_s"])
        ratio = torch_s / ours
        fine = ratio >= 1 - spread(case["samples_s"]) - spread(other["samples_s"])
        remark = rate_text(case) + ("" if fine else "  SLOWER THAN TORCH")
        yield (name, time_text(ours), time_text(torch_s), f"{ratio:.3f}", remark), ratio, fine


def table_text(rows):
    rows = [("case", "ours", "torch", "torch/ours", "")] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join([row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in (1, 2, 3)] + [row[4]]).rstrip()
                     for row in rows) + "\n"


def summary(ratios, torch_path):
    if not ratios:
        return f"no product was compared with torch ({torch_path} is missing or empty)\n"
    return (f"{len(ratios)} products against torch: median {statistics.median(ratios):.3f}, "
            f"lowest {min(ratios):.3f}, highest {max(ratios):.3f} times its speed\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("node")
    parser.add_argument("torch")
    parser.add_argument("--table", required=True)
    arguments = parser.parse_args()
    try:
        cases = records(arguments.node)
    except (OSError, ValueError, KeyError) as error:
        print(0, 1)
        sys.exit(f"gpu_table.py: {arguments.node}: {error}")
    path = pathlib.Path(arguments.torch)
    theirs = {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]} if path.exists() else {}
    rows, ratios, passed = [], [], []
    for row, ratio, fine in rows_of(cases, theirs):
        rows.append(row)
        passed.append(fine)
        ratios += [] if ratio is None else [ratio]
    text = table_text(rows) + "\n" + summary(ratios, arguments.torch)
    pathlib.Path(arguments.table).write_text(text, encoding="utf-8")
    print(sum(passed), len(passed) - sum(passed) + (0 if passed else 1))


if __name__ == "__main__":
    main()
