#!/usr/bin/env python3
"""Real traffic between hosts in a box: Farscale is fitted on 2 to 4 hosts, predicts, and is then measured.

    scripts/testbed proof [--out FOLDER] [EXPERIMENT ...]

Every claim is one line: predicted, measured, error. A claim beyond its tolerance is fitted, predicted and measured once
more before it counts as failed. Ends with "N passed, N failed". Exit codes: 0 all passed, 1 a claim failed, 2 usage, 77
skipped with the reason (no namespaces or tc here). Needs no package besides Python's own.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent
TESTBED = SCRIPTS / "testbed"
FARSCALE = pathlib.Path(os.environ.get("FARSCALE_BUILD", SCRIPTS.parent / "build")) / "farscale"
UP = pathlib.Path("/run/farscale-testbed/options")
SKIPPED = 77
KIB = 1024
FITTED_ON = (2, 3, 4)
UNSEEN = (8, 16)
PACE = "200e6"  # FLOP/s of a host in the step: some tenths of a second, as the communication

# A model needs a GEMM to be one.
COLLECTIVES = """description = "all-reduces across the testbed"
[[gemm]]
types = ["fp32"]
squares = [64]
most_samples = 6
[[collective]]
kinds = ["all_reduce"]
bytes = {sizes}
placement = "in_place"
interval = 0.02
budget_s = {budget}
least_samples = 4
sample_s = {sample}
"""

# GEMMs have samples enough for the spread between hosts; memory has not: its noise is the shared machine's.
STEP_SUITE = """description = "a step with overlap across the testbed"
workload = "{workload}"
[[gemm]]
types = ["fp32"]
workload_shapes = 3
cold = false
least_samples = 8
[[memory]]
kinds = ["copy"]
bytes = [4194304]
most_samples = 6
[[collective]]
kinds = ["all_reduce"]
bytes = [262144, 524288, 1048576]
placement = "in_place"
interval = 0.02
least_samples = 4
[[step]]
scale = 1
interval = 0.02
budget_s = 4
least_samples = 4
peak_flops_per_s = {pace}
"""

STEP_WORKLOAD = """name = "testbed-step"
provenance = "proxy"
sources = ["made up for the testbed: gradients of 1.1 and 0.8 MB, ready in the middle and at the end of the backward pass"]
sample_unit = "row"
micro_batch = 1
[inputs]
tokens = 32
store = "tokens"
[types]
compute = "fp32"
activations = "fp32"
parameters = "fp32"
gradients = "fp32"
[optimizer]
kind = "adam"
[[layer]]
id = "words"
op = "embedding"
vocabulary = 8
width = 256
[[layer]]
id = "first"
op = "linear"
out = 256
[[layer]]
id = "second"
op = "linear"
out = 512
[[layer]]
id = "third"
op = "linear"
out = 512
[[layer]]
id = "loss"
op = "loss"
"""


class Skip(Exception):
    pass


class Claim:
    def __init__(self, what, predicted, measured_s, tolerance):
        self.what, self.measured_s, self.tolerance = what, measured_s, tolerance
        self.low_s, self.predicted_s, self.high_s = (predicted[key] for key in ("p05", "p50", "p95"))

    @property
    def error(self):
        return self.predicted_s / self.measured_s - 1

    @property
    def holds(self):
        return abs(self.error) <= self.tolerance

    def line(self):
        return (f"{'ok    ' if self.holds else 'WRONG '} {self.what:<52} predicted {1e3 * self.predicted_s:7.1f} ms "
                f"({1e3 * self.low_s:.0f} to {1e3 * self.high_s:.0f}), measured {1e3 * self.measured_s:7.1f} ms, "
                f"error {100 * self.error:+5.1f} % (allowed {100 * self.tolerance:.0f} %)")


def call(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode == SKIPPED:
        raise Skip(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


class Lab:
    """One folder of suites, results and models; a name is never used twice."""

    def __init__(self, folder):
        self.folder, self.files = folder, 0

    def path(self, stem, suffix="json"):
        self.files += 1
        return self.folder / f"{self.files:03}-{stem}.{suffix}"

    def write(self, stem, text):
        path = self.path(stem, "toml")
        path.write_text(text)
        return path

    def up(self, *options):
        call(TESTBED, "down")
        call(TESTBED, "up", "--hosts", max(UNSEEN), *options)

    def measure(self, suite, ranks, *options, only="gemm,memory,collective,step"):
        result = self.path(f"{ranks}-hosts")
        call(TESTBED, "run", "--prompt", "--limit", "90", "--ranks", ranks, *options, "--",
             "farscale", "run", suite, "--only", only, "--out", result)
        return result

    def fit(self, suite, ranks, *options):
        model = self.path("model")
        call(FARSCALE, "fit", *[self.measure(suite, one, *options) for one in ranks], "-o", model)
        return model

    def collectives(self, sizes, budget=1.0, sample=0.002):
        return self.write("collectives", COLLECTIVES.format(sizes=sizes, budget=budget, sample=sample))


def predict_all_reduce(model, ranks, sizes, network=""):
    """{(ranks, bytes): {"p05", "p50", "p95"}}"""
    text = call(FARSCALE, "predict", "--model", model, "--collective", "all_reduce", "--gpus", ",".join(map(str, ranks)),
                "--bytes", ",".join(map(str, sizes)), "--network", network, "--json")
    return {(row["ranks"], row["bytes"]): row["time_s"] for row in json.loads(text)["predictions"]}


def records(result):
    return [row["farscale"] for row in json.loads(result.read_text())["benchmarks"] if "farscale" in row]


def all_reduce_times(result):
    """{bytes: median seconds}"""
    return {row["problem"]["bytes"]: statistics.median(row["samples_s"]) for row in records(result)}


def grown(lab, model, sizes, what, tolerance):
    """Predictions at host counts that the model has not seen, against what is then measured there."""
    predicted = predict_all_reduce(model, UNSEEN, sizes)
    suite = lab.collectives(sizes, sample=0.1)
    claims = []
    for ranks in UNSEEN:
        measured = all_reduce_times(lab.measure(suite, ranks, only="collective"))
        claims += [Claim(f"{what}, {ranks} hosts, {size // KIB} KiB", predicted[ranks, size], measured[size], tolerance)
                   for size in sizes]
    return claims


def bandwidth(lab):
    lab.up("--host-rate", "40mbit")
    model = lab.fit(lab.collectives([256 * KIB, 512 * KIB, 1024 * KIB]), FITTED_ON)
    return grown(lab, model, [256 * KIB, 1024 * KIB, 2048 * KIB], "bandwidth", 0.05)


def latency(lab):
    lab.up("--host-rate", "40mbit", "--delay", "2ms")
    model = lab.fit(lab.collectives([4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB], sample=0.1), FITTED_ON)
    return grown(lab, model, [4 * KIB, 64 * KIB, 512 * KIB], "latency, 2 ms of delay", 0.10)


def on_network(lab, model, what, network, *options):
    size = 512 * KIB
    predicted = predict_all_reduce(model, [16], [size], network)[16, size]
    measured = all_reduce_times(lab.measure(lab.collectives([size]), 16, *options, only="collective"))[size]
    return Claim(f"{what}, 16 hosts, {size // KIB} KiB", predicted, measured, 0.10)


def topology(lab):
    """Uplinks of 4 leaves with 4 hosts of 40 Mbit/s each, and the two orders of ranks on them."""
    model, claims = None, []
    for uplink in (160, 80, 40, 20):
        lab.up("--leaves", "4", "--host-rate", "40mbit", "--uplink-rate", f"{uplink}mbit")
        # Under one leaf: what is known of the uplinks is what is written here.
        model = model or lab.fit(lab.collectives([256 * KIB, 512 * KIB, 1024 * KIB]), FITTED_ON)
        for order in ("contiguous", "interleaved"):
            network = f"per_leaf=4 oversubscription={160 / uplink:g} order={order}"
            claims.append(on_network(lab, model, f"uplinks {160 // uplink}:1, {order}", network, "--order", order))
    lab.up("--host-rate", "40mbit", "--slow", "9=10mbit")
    return claims + [on_network(lab, model, "one host at a quarter of the rate", "slowest=0.25")]


def step(lab):
    """Backward pass and all-reduces at once: compute keeps its own pace, so hosts do not slow one another."""
    lab.up("--host-rate", "80mbit")
    workload = lab.write("workload", STEP_WORKLOAD)
    suite = lab.write("step", STEP_SUITE.format(workload=workload, pace=PACE))
    model = lab.fit(suite, FITTED_ON, "--pace", PACE)
    text = call(FARSCALE, "predict", "--workload", workload, "--model", model, "--gpus", ",".join(map(str, UNSEEN)), "--json")
    claims = []
    for row in json.loads(text)["predictions"]:
        ranks = row["gpus"]
        (record,) = records(lab.measure(suite, ranks, "--pace", PACE, only="step"))
        series = {name: statistics.median(values) for name, values in record["series_s"].items() if values}
        claims.append(Claim(f"step with overlap, {ranks} hosts", row["step_time_s"], series["both"], 0.10))
        apart_s = series["compute_only"] + series["communication_only"]
        print(f"       {ranks} hosts: {100 * (apart_s - series['both']) / series['communication_only']:.0f} % of the "
              f"communication hidden; without overlap {1e3 * apart_s:.0f} ms", flush=True)
    return claims


EXPERIMENTS = {"bandwidth": bandwidth, "latency": latency, "topology": topology, "step": step}


def attempt(name, lab):
    """Claims that hold and that do not, after their lines."""
    start = time.monotonic()
    try:
        claims = EXPERIMENTS[name](lab)
    except RuntimeError as error:
        print(f"WRONG  {name}: {error}", flush=True)
        return 0, 1
    for claim in claims:
        print(claim.line())
    print(f"       {name}: {time.monotonic() - start:.0f} s", flush=True)
    passed = sum(claim.holds for claim in claims)
    return passed, len(claims) - passed


def prove(name, lab):
    passed, failed = attempt(name, lab)
    if failed:
        print(f"       {name}: once more", flush=True)
        passed, failed = attempt(name, lab)
    return passed, failed


def run(names, lab):
    print(f"fitted on {', '.join(map(str, FITTED_ON))} hosts, then asked about {' and '.join(map(str, UNSEEN))}", flush=True)
    counts = [prove(name, lab) for name in names]
    passed, failed = map(sum, zip(*counts))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="keep suites, results and models in this new folder")
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    arguments = parser.parse_args()
    for name in set(arguments.experiments) - set(EXPERIMENTS):
        parser.error(f"unknown experiment '{name}' (known: {', '.join(EXPERIMENTS)})")
    if not FARSCALE.exists():
        parser.error(f"{FARSCALE} is not built: scripts/quickstart or CONTRIBUTING.md (FARSCALE_BUILD names another folder)")
    if UP.exists():
        parser.error("a testbed is up already: scripts/testbed down first")
    if arguments.out:
        arguments.out.mkdir(parents=True)
    folder = (arguments.out or pathlib.Path(tempfile.mkdtemp(prefix="farscale-testbed-"))).resolve()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: sys.exit(1))  # so that the testbed is taken down
    try:
        return run(arguments.experiments or EXPERIMENTS, Lab(folder))
    except Skip as reason:
        print(reason, file=sys.stderr)
        return SKIPPED
    finally:
        subprocess.run([str(TESTBED), "down"], check=False)
        if not arguments.out:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
