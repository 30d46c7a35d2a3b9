#!/usr/bin/env python3
"""The products of a run on a GPU again, through torch: same shapes, layouts and types, normal inputs, operands and
results rotated through more than twice the L2 cache, timed with CUDA events, rested and heated as ours were.

    gpu_torch.py NODE.json TORCH.json --budget 70

Writes {"torch": version, "rows": [{"name", "burst_s", "sustained_s"}], "missing": [{"name", "reason"}]}, anew after every
row, for every cold product of bf16, fp8_e4m3 (torch._scaled_mm, unit scales), fp16, tf32, fp32 and fp64 of NODE.json, in
this order. A product of bf16 or fp8 that the time did not last for is in "missing"; what torch refuses is said on stderr.
`--budget` counts from the start of the process. Exit codes: 0 written, 3 torch or its GPU is not here.
"""
import argparse
import json
import os
import pathlib
import sys
import time

from gpu_table import records

STARTED = time.monotonic()
SAMPLE_S, BURST_S, MOST_SAMPLES = 0.005, 0.05, 500
NEEDED = ("bf16", "fp8_e4m3")  # the others are compared if time is left
TYPES = ("bf16", "fp8_e4m3", "fp16", "tf32", "fp32", "fp64")


def wanted(cases):
    """Names, problems and cases, the types that matter most first."""
    found = []
    for name, case in cases.items():
        problem, settings = case.get("problem") or {}, case.get("settings", {})
        usual = settings.get("cache", "cold") == "cold" and settings.get("data", "normal") == "normal"
        plain = problem.get("epilogue", "none") == "none" and problem.get("scaling", "none") in ("none", "tensor")
        if problem.get("kind") == "gemm" and case["status"] == "ok" and usual and plain and problem["type"] in TYPES:
            found.append((name, problem, case))
    return sorted(found, key=lambda one: TYPES.index(one[1]["type"]))


def kind_of(torch, problem):
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64,
            "fp8_e4m3": torch.bfloat16}.get(problem["type"], torch.float32)


def operands(torch, problem, copies):
    """(A, B, C) `copies` times, stored as ours are: row-major, transposed operands as the transpose of a row-major
    matrix. All copies hold the same numbers, as ours do."""
    batch = (problem["batch"],) if problem.get("batch", 1) > 1 else ()

    def matrix(rows, columns, transposed):
        shape = batch + ((columns, rows) if transposed else (rows, columns))
        made = torch.randn(shape, device="cuda", dtype=torch.float32).to(kind_of(torch, problem))
        return made.to(torch.float8_e4m3fn) if problem["type"] == "fp8_e4m3" else made

    a = matrix(problem["m"], problem["k"], problem["transpose_a"])
    b = matrix(problem["k"], problem["n"], problem["transpose_b"])
    shape = batch + (problem["m"], problem["n"])

    def turned(made, transposed):
        return made.transpose(-1, -2) if transposed else made

    return [(turned(a.clone(), problem["transpose_a"]), turned(b.clone(), problem["transpose_b"]),
             torch.empty(shape, device="cuda", dtype=kind_of(torch, problem))) for _ in range(copies)]


def multiply(torch, problem):
    if problem["type"] != "fp8_e4m3":
        return lambda a, b, c: torch.matmul(a, b, out=c)
    one = torch.ones((), device="cuda")
    fast = bool(problem.get("fast_accumulation"))
    return lambda a, b, c: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16,
                                            use_fast_accum=fast, out=c)


def copies_for(torch, problem):
    size = {"fp8_e4m3": 1, "bf16": 2, "fp16": 2, "fp64": 8}.get(problem["type"], 4)
    result = 2 if problem["type"] == "fp8_e4m3" else size
    one = problem.get("batch", 1) * (size * (problem["m"] * problem["k"] + problem["k"] * problem["n"]) +
                                     result * problem["m"] * problem["n"])
    cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
    room = int(0.8 * torch.cuda.mem_get_info()[0] // one)
    return max(1, min(room, 2 * cache // one + 1, 4096))


class Timer:
    """Times runs over rotated operands, and goes on where it stopped."""

    def __init__(self, torch, run, sets):
        self.run, self.sets, self.at = run, sets, 0
        self.start, self.stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def sample_s(self, runs):
        self.start.record()
        for _ in range(runs):
            self.run(*self.sets[self.at % len(self.sets)])
            self.at += 1
        self.stop.record()
        self.stop.synchronize()
        return self.start.elapsed_time(self.stop) * 1e-3 / runs

    def samples_for(self, seconds, runs):
        end, samples = time.monotonic() + seconds, []
        while not samples or (time.monotonic() < end and len(samples) < MOST_SAMPLES):
            samples.append(self.sample_s(runs))
        return samples


def measure(torch, problem, cool_s, sustain_s):
    """Burst after a rest, then sustained: as long as ours, of which the second half counts."""
    torch.backends.cuda.matmul.allow_tf32 = problem["type"] == "tf32"
    timer = Timer(torch, multiply(torch, problem), operands(torch, problem, copies_for(torch, problem)))
    timer.sample_s(3)
    runs = max(1, min(1000, int(SAMPLE_S / max(timer.sample_s(3), 1e-7))))
    torch.cuda.synchronize()
    time.sleep(cool_s)
    burst = timer.samples_for(BURST_S, runs)
    sustained = timer.samples_for(sustain_s, runs) if sustain_s > 0 else burst
    return burst, sustained[len(sustained) // 2:] if sustain_s > 0 else burst


def pace(case):
    """How long ours rested and how long it then ran, in seconds."""
    details = case.get("details", {})
    return float(details.get("cool_s", 0)), float(details.get("heated_s", 0))


class Report:
    """What was measured until now, on disk."""

    def __init__(self, path, version):
        self.path, self.found = pathlib.Path(path), {"torch": version, "rows": [], "missing": []}
        self.write()

    def add(self, key, **row):
        self.found[key].append(row)
        self.write()

    def write(self):
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        os.replace(beside, self.path)


def compare(torch, cases, report, budget_s):
    for name, problem, case in wanted(cases):
        if time.monotonic() - STARTED > budget_s:
            if problem["type"] in NEEDED:
                report.add("missing", name=name, reason=f"not reached within {budget_s:g} s")
            continue
        try:
            burst, sustained = measure(torch, problem, *pace(case))
            report.add("rows", name=name, burst_s=burst, sustained_s=sustained)
        except (RuntimeError, ValueError, TypeError) as error:
            print(f"{name}: torch refuses: {str(error).splitlines()[0]}", file=sys.stderr)
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("node")
    parser.add_argument("out")
    parser.add_argument("--budget", type=float, default=70)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        print(f"torch is not here: {error}", file=sys.stderr)
        sys.exit(3)
    if not torch.cuda.is_available():
        print("torch sees no GPU", file=sys.stderr)
        sys.exit(3)
    torch.set_grad_enabled(False)
    compare(torch, records(arguments.node), Report(arguments.out, torch.__version__), arguments.budget)


if __name__ == "__main__":
    main()
