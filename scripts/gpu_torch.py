#!/usr/bin/env python3
"""The products of a run on a GPU again, through torch: same shapes, layouts and types, normal inputs, operands rotated
through more than twice the L2 cache, timed with CUDA events.

    gpu_torch.py NODE.json TORCH.json

Writes {"torch": version, "rows": [{"name", "samples_s"}]} for every cold product of bf16, fp16, fp32, tf32, fp64 and
fp8_e4m3 (torch._scaled_mm, unit scales) of NODE.json. A shape torch refuses is left out, with the reason on stderr.
"""
import json
import pathlib
import sys
import time

from gpu_table import records

SAMPLES, SAMPLE_S, BUDGET_S = 15, 0.005, 60


def wanted(cases):
    for name, case in cases.items():
        problem, settings = case.get("problem") or {}, case.get("settings", {})
        usual = settings.get("cache", "cold") == "cold" and settings.get("data", "normal") == "normal"
        plain = problem.get("epilogue", "none") == "none" and problem.get("scaling", "none") in ("none", "tensor")
        if problem.get("kind") == "gemm" and case["status"] == "ok" and usual and plain:
            yield name, problem


def operands(torch, problem, copies):
    """Stored as ours are: row-major, transposed operands as the transpose of a row-major matrix."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32,
             "fp64": torch.float64, "fp8_e4m3": torch.bfloat16}
    if problem["type"] not in kinds:
        return None
    batch = (problem["batch"],) if problem.get("batch", 1) > 1 else ()

    def matrix(rows, columns, transposed):
        shape = batch + ((columns, rows) if transposed else (rows, columns))
        made = torch.randn(shape, device="cuda", dtype=torch.float32).to(kinds[problem["type"]])
        if problem["type"] == "fp8_e4m3":
            made = made.to(torch.float8_e4m3fn)
        return made.transpose(-1, -2) if transposed else made

    return [(matrix(problem["m"], problem["k"], problem["transpose_a"]),
             matrix(problem["k"], problem["n"], problem["transpose_b"])) for _ in range(copies)]


def multiply(torch, problem):
    if problem["type"] != "fp8_e4m3":
        return torch.matmul
    one = torch.ones((), device="cuda")
    fast = bool(problem.get("fast_accumulation"))
    return lambda a, b: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=fast)


def copies_for(torch, problem):
    size = {"fp8_e4m3": 1, "bf16": 2, "fp16": 2, "fp64": 8}.get(problem["type"], 4)
    one = size * problem.get("batch", 1) * (problem["m"] * problem["k"] + problem["k"] * problem["n"])
    device = torch.cuda.get_device_properties(0)
    cache = getattr(device, "L2_cache_size", 50 << 20)
    room = int(0.4 * torch.cuda.mem_get_info()[0] // (2 * one))
    return max(1, min(room, 2 * cache // one + 1))


def timed(torch, run, pairs, runs):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for i in range(runs):
        run(*pairs[i % len(pairs)])
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) * 1e-3 / runs


def measure(torch, problem):
    torch.backends.cuda.matmul.allow_tf32 = problem["type"] == "tf32"
    pairs = operands(torch, problem, copies_for(torch, problem))
    if pairs is None:
        return None
    run = multiply(torch, problem)
    timed(torch, run, pairs, 3)
    runs = max(1, min(1000, int(SAMPLE_S / max(timed(torch, run, pairs, 3), 1e-7))))
    return [timed(torch, run, pairs, runs) for _ in range(SAMPLES)]


def main():
    node, out = sys.argv[1:]
    try:
        import torch
    except ImportError as error:
        sys.exit(f"torch is not here: {error}")
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU")
    torch.set_grad_enabled(False)
    rows, end = [], time.monotonic() + BUDGET_S
    for name, problem in wanted(records(node)):
        if time.monotonic() > end:
            print(f"{name}: not reached within {BUDGET_S} s", file=sys.stderr)
            continue
        try:
            samples = measure(torch, problem)
        except (RuntimeError, ValueError) as error:
            print(f"{name}: torch refuses: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        if samples:
            rows.append({"name": name, "samples_s": samples})
    pathlib.Path(out).write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
