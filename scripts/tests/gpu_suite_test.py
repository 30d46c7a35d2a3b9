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
import unittest.mock

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


def case(samples, status="ok", rate=2e12, burst=None, **problem):
    shape = {"kind": "gemm", "m": 8, "n": 8, "k": 8, "batch": 1, "type": "bf16", "transpose_a": False,
             "transpose_b": False, "scaling": "none", "epilogue": "none", "fast_accumulation": False}
    series = {"series_s": {"burst": burst}, "details": {"cool_s": "0.05", "heated_s": "0.3"}} if burst else {}
    return {"status": status, "reason": "it broke", "samples_s": samples, "problem": shape | problem,
            "settings": {"cache": "cold", "data": "normal"}, "counters": {"flops_per_s": rate}} | series


def memory(kind, rate):
    return {"status": "ok", "samples_s": [1e9 / rate] * 8, "problem": {"kind": "memory", "pass": kind},
            "settings": {}, "counters": {"bytes_per_s": rate}}


def torch_row(name, burst_s, sustained_s):
    return {"name": name, "burst_s": [burst_s] * 8, "sustained_s": [sustained_s] * 8}


def result(cases):
    return {"benchmarks": [{"name": name + tail, "run_name": name, "farscale": value} for name, value in cases.items()
                           for tail in ("", "/repeats")]}


class Table(unittest.TestCase):
    def run_table(self, cases, rows, missing=(), names=None, seconds=None):
        with tempfile.TemporaryDirectory() as folder:
            node, torch, table, listed = (pathlib.Path(folder) / name for name in ("node.json", "torch.json", "table.txt",
                                                                                   "cases"))
            node.write_text(json.dumps(result(cases)), encoding="utf-8")
            listed.write_text("\n".join(names if names is not None else cases) + "\n", encoding="utf-8")
            if rows is not None:
                torch.write_text(json.dumps({"torch": "2", "rows": rows, "missing": list(missing)}), encoding="utf-8")
            more = [] if seconds is None else ["--characterised", str(seconds)]
            done = subprocess.run([sys.executable, SCRIPTS / "gpu_table.py", node, "--cases", listed, "--torch", torch,
                                   "--table", table, *more], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.split(), table.read_text(encoding="utf-8")

    def test_faster_slower_wrong_and_skipped(self):
        steady = [1e-3] * 8
        counts, text = self.run_table(
            {"gemm/fast": case(steady), "gemm/slow": case(steady), "gemm/wrong": case([], status="wrong"),
             "gemm/alone": case(steady), "gemm/skipped": case([], status="skipped")},
            [torch_row("gemm/fast", 1.3e-3, 9), torch_row("gemm/slow", 0.8e-3, 9)])
        self.assertEqual(counts, ["3", "2"])  # two cases and the median
        self.assertIn("1.300", text)
        self.assertIn("0.800", text)
        self.assertEqual(text.count("SLOWER THAN TORCH"), 1)
        self.assertIn("WRONG: it broke", text)
        self.assertIn("skipped 1 cases: it broke", text)
        self.assertIn("ok      2 products against torch, burst: median 1.050", text)

    def test_burst_is_held_against_burst_and_sustained_against_sustained(self):
        ours = case([2e-3] * 8, burst=[1e-3] * 8)
        counts, text = self.run_table({"gemm/a": ours}, [torch_row("gemm/a", 1.1e-3, 1.5e-3)])
        self.assertIn("SLOWER THAN TORCH (sustained)", text)
        self.assertIn("1.100      0.750", text)
        self.assertEqual(counts, ["1", "2"])  # the median in burst; not the case, and not the median sustained

    def test_rank_0_is_what_torch_is_held_against(self):
        ours = case([2e-3] * 8) | {"rank_medians_s": [1e-3, 2e-3]}
        counts, text = self.run_table({"gemm/a": ours}, [torch_row("gemm/a", 1.1e-3, 1.1e-3)])
        self.assertEqual(counts, ["2", "0"], text)

    def test_the_median_against_torch_has_a_limit(self):
        counts, text = self.run_table({"gemm/a": case([1e-3] * 8)}, [torch_row("gemm/a", 1.01e-3, 1.01e-3)])
        self.assertEqual(counts, ["1", "1"])
        self.assertIn("FAILED  1 products against torch, burst: median 1.010 (limit 1.02)", text)

    def test_memory_passes_are_held_against_the_copy(self):
        counts, text = self.run_table({"copy": memory("copy", 4e12), "triad": memory("triad", 3.5e12)}, None)
        self.assertEqual(counts, ["2", "1"])
        self.assertIn("FAILED  memory passes over 256 MiB: the slowest, triad, has 87.5% of the copy bandwidth", text)
        self.assertEqual(self.run_table({"copy": memory("copy", 4e12), "triad": memory("triad", 3.8e12)}, None)[0],
                         ["3", "0"])

    def test_characterising_has_a_limit(self):
        cases = {f"gemm/{i}": case([1e-3] * 8, burst=[1e-3] * 8) for i in range(212)}
        counts, text = self.run_table(cases, None, seconds=179)
        self.assertEqual(counts, ["213", "0"])
        self.assertIn("ok      212 products characterised, burst and sustained, in 179 s (limit 180 s)", text)
        self.assertEqual(self.run_table(cases, None, seconds=181)[0], ["212", "1"])

    def test_cases_not_reached_and_products_not_compared_fail(self):
        counts, text = self.run_table({"a": case([1e-3] * 8)}, [torch_row("a", 1.1e-3, 1.1e-3)],
                                      missing=[{"name": "b", "reason": "not reached within 70 s"}], names=["a", "b", "c"])
        self.assertEqual(counts, ["2", "3"])
        self.assertIn("FAILED  not reached: c", text)
        self.assertIn("1 products were not compared with torch: b: not reached within 70 s", text)

    def test_a_result_that_is_not_there_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, SCRIPTS / "gpu_table.py", folder + "/none.json", "--torch", folder + "/t",
                                   "--table", folder + "/table"], capture_output=True, text=True, check=False)
            self.assertEqual(done.stdout.split(), ["0", "2"], done.stderr)
            self.assertIn("none.json", pathlib.Path(folder + "/table").read_text(encoding="utf-8"))

    def test_within_the_spread_is_no_failure(self):
        noisy = [1e-3, 1.3e-3, 0.8e-3, 1.1e-3, 0.9e-3, 1.2e-3]
        slower = [x * 0.95 for x in noisy]
        _, text = self.run_table({"g": case(noisy)}, [{"name": "g", "burst_s": slower, "sustained_s": slower}])
        self.assertNotIn("SLOWER", text)

    def test_without_torch(self):
        counts, text = self.run_table({"g": case([1e-3] * 8)}, None)
        self.assertEqual(counts, ["1", "0"])
        self.assertIn("2 TFLOP/s", text)
        self.assertIn("no product was compared", text)

    def test_nothing_measured_is_a_failure(self):
        self.assertEqual(self.run_table({"g": case([], status="skipped")}, None)[0], ["0", "1"])


class Torch(unittest.TestCase):
    def test_cold_normal_products_are_asked_for_and_bf16_first(self):
        hot, gelu = case([1.0]), case([1.0], epilogue="bias_gelu")
        hot["settings"]["cache"] = "hot"
        cases = {"z": case([1.0], type="fp32"), "a": case([1.0]), "b": hot, "c": gelu, "d": case([], status="failed")}
        self.assertEqual([name for name, _, _ in gpu_torch.wanted(cases)], ["a", "z"])

    def test_rests_and_heats_as_ours_did(self):
        self.assertEqual(gpu_torch.pace(case([1.0], burst=[1.0])), (0.05, 0.3))
        self.assertEqual(gpu_torch.pace(case([1.0])), (0.0, 0.0))

    def test_every_row_is_on_disk_at_once_and_what_is_late_is_missing(self):
        fake = unittest.mock.Mock()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "torch.json"
            seen = []

            def measured(_torch, problem, cool_s, heat_s):
                seen.append((problem["type"], cool_s, heat_s, len(json.loads(path.read_text())["rows"])))
                return [1e-3], [2e-3]

            cases = {"a": case([1.0], burst=[1.0]), "b": case([1.0], type="fp8_e4m3")}
            with unittest.mock.patch.object(gpu_torch, "measure", measured):
                gpu_torch.compare(fake, cases, gpu_torch.Report(path, "2"), 1e9)
                self.assertEqual(seen, [("bf16", 0.05, 0.3, 0), ("fp8_e4m3", 0.0, 0.0, 1)])
                gpu_torch.compare(fake, cases, gpu_torch.Report(path, "2"), 0)
            found = json.loads(path.read_text())
            self.assertEqual((found["rows"], [one["name"] for one in found["missing"]]), ([], ["a", "b"]))

    def test_burst_comes_after_a_rest_and_results_are_rotated(self):
        torch, calls = unittest.mock.MagicMock(), []
        torch.cuda.Event.return_value.elapsed_time.return_value = 5.0
        torch.matmul = lambda a, b, out: calls.append(id(out))
        torch.cuda.get_device_properties.return_value.L2_cache_size = 10000
        torch.cuda.mem_get_info.return_value = (1 << 30, 1 << 30)
        torch.empty.side_effect = lambda *_, **__: object()
        with unittest.mock.patch.object(gpu_torch.time, "sleep") as sleep:
            burst, sustained = gpu_torch.measure(torch, case([1.0], m=16, n=16, k=16)["problem"], 0.5, 0.02)
        sleep.assert_called_once_with(0.5)
        self.assertGreater(len(set(calls)), 10)  # 20000 bytes of cache over 1536 a set
        self.assertTrue(burst and sustained)


GPU = '{"backends": [{"facts": {"gpus_here": "1"}, "warnings": []}]}'

# A farscale that lists one case a part, writes its record, and then does what the test asks for; $o is its result file.
STUB = """case $1 in
  devices) if [ "$2" = --json ]; then echo '{devices}'; else echo 'backend cuda    ready    Stub GPU'; fi ;;
  run)
    part=rest o=/dev/null
    case "$*" in *step*) part=step ;; *--benchmark_filter=^*) part=gemm ;; esac
    case "$*" in *--list*) echo "case-$part"; exit 0 ;; esac
    while [ $# -gt 0 ]; do [ "$1" = --out ] && o=$2; shift; done
    echo '{{"benchmarks":[{{"name":"case-'$part'","run_name":"case-'$part'","farscale":{{"status":"ok","problem":{{}},"samples_s":[0.001]}}}}]}}' > "$o"
    {run} ;;
esac"""


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

    # Stubs for everything but the script itself.
    def run_stubs(self, folder, run="exit 0", test='echo "[  PASSED  ] 3 tests."', devices=GPU, limits="4 2 4 3 3 3 4",
                  **programs):
        here = pathlib.Path(folder) / "bin"
        here.mkdir()
        programs |= {"cuda_test": test, "farscale": STUB.format(run=run, devices=devices)}
        for name, text in programs.items():
            (here / name).write_text("#!/bin/bash\n" + text + "\n", encoding="utf-8")
            (here / name).chmod(0o755)
        (here / "farscale-cuda.so").touch()
        return self.run_suite(folder + "/out", FARSCALE_BUILD=str(here), FARSCALE_GPU_LIMITS=limits,
                              PATH=f"{here}:{os.environ['PATH']}")

    def test_stubs_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder)
            self.assertRegex(done.stdout, r"\n6 passed, 0 failed\n$", done.stderr)

    def test_a_crash_is_a_failure_and_what_it_left_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder, run='[ "$part" != gemm ] || kill -SEGV $$')
            self.assertEqual(done.returncode, 1)
            self.assertIn("FAILED: suite node, gemm (exit code 139)", done.stderr)
            self.assertRegex(done.stdout, r"\n6 passed, 1 failed\n$", done.stderr)

    def test_cases_that_the_time_did_not_last_for_are_named_and_counted(self):
        for lost, passed, failed in (("", 6, 0), ('echo "{\\"benchmarks\\": []}" > "$o"; ', 5, 1)):
            with tempfile.TemporaryDirectory() as folder:
                done = self.run_stubs(folder, run=f'[ "$part" != gemm ] || {{ {lost}exec sleep 60; }}', limits="4 2 4 3 1 3 4")
                self.assertIn("ended after 1 s: finished cases are kept", done.stderr)
                self.assertRegex(done.stdout, rf"\n{passed} passed, {failed} failed\n$", done.stderr)
                self.assertEqual("FAILED  not reached: case-gemm" in done.stdout, failed == 1)

    def test_what_the_sanitizer_found_counts_even_if_it_does_not_end(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder, **{"compute-sanitizer": 'echo "========= Invalid __global__ write of size 16 bytes"\n'
                                                                  'exec sleep 60'})
            self.assertIn("FAILED: compute-sanitizer", done.stderr)
            self.assertEqual(done.returncode, 1)
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder, **{"compute-sanitizer": 'echo "$*"\nexec sleep 60'})
            self.assertRegex(done.stdout, r"\n7 passed, 0 failed\n$", done.stderr)
            asked = (pathlib.Path(folder) / "out" / "sanitizer.log").read_text(encoding="utf-8")
            self.assertIn("*MovesMemory/cuda:*ChecksLargeProductsOnTheDevice/cuda", asked)

    def test_tests_that_all_were_skipped_or_hang_fail(self):
        for test in ('echo "[  PASSED  ] 0 tests."', "trap '' TERM; sleep 60"):
            with tempfile.TemporaryDirectory() as folder:
                done = self.run_stubs(folder, test=test, limits="1 2 4 3 3 3 4")
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stdout, r"\n3 passed, 1 failed\n$", done.stderr)

    def test_without_cublas_nothing_is_proven(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder, devices=GPU.replace('[]', '["no GEMM: libcublasLt.so.13: cannot open"]'))
            self.assertEqual(done.returncode, 3)
            self.assertIn("no GEMM: libcublasLt.so.13: cannot open", done.stderr)
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_stubs(folder, devices=GPU.replace('[]', '["no collectives: libnccl.so.2: cannot open"]'))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, r"\n6 passed, 1 failed\n$", done.stderr)

    def test_a_long_list_of_libraries_is_read_to_its_end(self):
        with tempfile.TemporaryDirectory() as folder:
            many = 'echo "libcublasLt.so"; echo "libnccl.so.2"; echo "libcudnn.so.9"; yes "lib (libc6) => /lib" | head -n 9999'
            done = self.run_stubs(folder, ldconfig=many)
            self.assertEqual(done.stderr.count("known to the loader"), 3, done.stderr)
            self.assertNotIn("BrokenPipe", done.stderr)

    def test_gpus_are_those_the_program_sees(self):
        with tempfile.TemporaryDirectory() as folder:
            smi = "for i in 0 1 2 3; do echo \"GPU $i: stub\"; done"
            done = self.run_stubs(folder, **{"nvidia-smi": smi})
            self.assertIn("suite node on 1 GPU(s): gemm", done.stderr)

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
                                  FARSCALE_GPU_TESTS="Absence.*", CUDA_VISIBLE_DEVICES="0")
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertRegex(done.stdout, r"\n\d+ passed, 0 failed\n$")
            self.assertIn("gemm/bf16/nn/16x16x16", done.stdout)
            self.assertTrue((folder / "out" / "gemm.json").exists())
            self.assertIn("on 1 GPU(s)", done.stderr)  # of the fake's two
            if bare.exists():
                self.assertIn("one GPU: NCCL only copies, at the host's pace, and no limit is judged", done.stdout)
                self.assertRegex(done.stdout, r"ncclAllReduce 4 KiB +10\.\d* \S+ +[+-]0\.00 % .* within")


if __name__ == "__main__":
    unittest.main()
