#!/usr/bin/env python3
"""gpu-suite without a GPU: the table on recorded inputs, what is said when something is missing, and a whole run on the
fake module where it was built (FARSCALE_BUILD names the build folder)."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("FARSCALE_BUILD", "/nowhere"))
sys.path.insert(0, str(SCRIPTS))
import gpu_table  # noqa: E402
import gpu_torch  # noqa: E402

SUITE = """[sampling]
budget_s = 0.01
least_samples = 6
most_samples = 6
[[gemm]]
types = ["bf16"]
squares = [16]
[[memory]]
kinds = ["copy"]
bytes = [4096]
"""


def case(samples, status="ok", rate=2e12, **problem):
    shape = {"kind": "gemm", "m": 8, "n": 8, "k": 8, "batch": 1, "type": "bf16", "transpose_a": False,
             "transpose_b": False, "scaling": "none", "epilogue": "none", "fast_accumulation": False}
    return {"status": status, "reason": "it broke", "samples_s": samples, "problem": shape | problem,
            "settings": {"cache": "cold", "data": "normal"}, "counters": {"flops_per_s": rate}}


def result(cases):
    return {"benchmarks": [{"name": name + tail, "run_name": name, "farscale": value} for name, value in cases.items()
                           for tail in ("", "/repeats")]}


class Table(unittest.TestCase):
    def run_table(self, cases, rows):
        with tempfile.TemporaryDirectory() as folder:
            node, torch, table = (pathlib.Path(folder) / name for name in ("node.json", "torch.json", "table.txt"))
            node.write_text(json.dumps(result(cases)), encoding="utf-8")
            if rows is not None:
                torch.write_text(json.dumps({"torch": "2", "rows": rows}), encoding="utf-8")
            done = subprocess.run([sys.executable, SCRIPTS / "gpu_table.py", node, torch, "--table", table],
                                  capture_output=True, text=True, check=False)
            return done.stdout.split(), table.read_text(encoding="utf-8")

    def test_faster_slower_wrong_and_skipped(self):
        steady = [1e-3] * 8
        counts, text = self.run_table(
            {"gemm/fast": case(steady), "gemm/slow": case(steady), "gemm/wrong": case([], status="wrong"),
             "gemm/alone": case(steady), "gemm/skipped": case([], status="skipped")},
            [{"name": "gemm/fast", "samples_s": [1.2e-3] * 8}, {"name": "gemm/slow", "samples_s": [0.8e-3] * 8}])
        self.assertEqual(counts, ["2", "2"])
        self.assertIn("1.200", text)
        self.assertIn("0.800", text)
        self.assertEqual(text.count("SLOWER THAN TORCH"), 1)
        self.assertIn("WRONG: it broke", text)
        self.assertNotIn("skipped", text)
        self.assertIn("2 products against torch: median 1.000, lowest 0.800, highest 1.200", text)

    def test_within_the_spread_is_no_failure(self):
        noisy = [1e-3, 1.3e-3, 0.8e-3, 1.1e-3, 0.9e-3, 1.2e-3]
        counts, _ = self.run_table({"g": case(noisy)}, [{"name": "g", "samples_s": [x * 0.95 for x in noisy]}])
        self.assertEqual(counts, ["1", "0"])

    def test_without_torch(self):
        counts, text = self.run_table({"g": case([1e-3] * 8)}, None)
        self.assertEqual(counts, ["1", "0"])
        self.assertIn("2 TFLOP/s", text)
        self.assertIn("no product was compared", text)

    def test_nothing_measured_is_a_failure(self):
        self.assertEqual(self.run_table({"g": case([], status="skipped")}, None)[0], ["0", "1"])

    def test_torch_is_asked_for_cold_normal_products_only(self):
        hot, gelu = case([1.0]), case([1.0], epilogue="bias_gelu")
        hot["settings"]["cache"] = "hot"
        asked = dict(gpu_torch.wanted({"a": case([1.0]), "b": hot, "c": gelu, "d": case([], status="failed")}))
        self.assertEqual(list(asked), ["a"])


class Suite(unittest.TestCase):
    def run_suite(self, *arguments, **environment):
        return subprocess.run([SCRIPTS / "gpu-suite", *arguments], env=dict(os.environ, **environment), timeout=120,
                              capture_output=True, text=True, check=False)

    def test_unknown_option_and_existing_folder(self):
        self.assertEqual(self.run_suite("--nonsense").returncode, 2)
        done = self.run_suite(str(SCRIPTS))
        self.assertEqual(done.returncode, 2)
        self.assertIn("exists already", done.stderr)

    def test_says_what_is_missing(self):
        if pathlib.Path("/dev/nvidia0").exists():
            self.skipTest("there is a GPU here")
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_suite(folder + "/out")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertRegex(done.stderr, "no farscale with|no GPU|no NVIDIA driver|cudaError")

    def test_bare_loop_says_what_is_missing(self):
        program = BUILD / "farscale-overhead-cuda"
        if not program.exists() or pathlib.Path("/dev/nvidia0").exists():
            self.skipTest("farscale-overhead-cuda was not built in FARSCALE_BUILD, or there is a GPU here")
        done = subprocess.run([program, "--json"], timeout=60, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""), done.stderr)
        self.assertRegex(done.stderr, "^farscale-overhead-cuda: no GPU: cudaGetDeviceCount says")

    def test_whole_run_on_the_fake(self):
        files = {"farscale": "farscale", "farscale-fake.so": "farscale-fake.so", "farscale-cuda.so": "farscale-fake.so",
                 "cuda_test": "kernels/cuda/cuda_test"}
        if not all((BUILD / file).exists() for file in files.values()):
            self.skipTest("farscale, farscale-fake.so or cuda_test was not built in FARSCALE_BUILD")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for link, file in files.items():
                (folder / link).symlink_to(BUILD / file)
            bare = BUILD / "farscale-overhead-fake"
            if bare.exists():
                small = folder / "farscale-overhead-cuda"
                small.write_text(f'#!/bin/sh\nexec {bare} --bytes 4096 "$@"\n', encoding="utf-8")
                small.chmod(0o755)
            (folder / "small.toml").write_text(SUITE, encoding="utf-8")
            done = self.run_suite(name + "/out", FARSCALE_BUILD=name, FARSCALE_GPU_SUITE=name + "/small.toml",
                                  FARSCALE_GPU_TESTS="Absence.*")
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertRegex(done.stdout, r"\n\d+ passed, 0 failed\n$")
            self.assertIn("gemm/bf16/nn/16x16x16", done.stdout)
            self.assertTrue((folder / "out" / "node.json").exists())
            if bare.exists():
                self.assertRegex(done.stdout, r"ncclAllReduce 4 KiB +10\.\d* \S+ +[+-]0\.00 % .* within")


if __name__ == "__main__":
    unittest.main()
