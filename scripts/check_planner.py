#!/usr/bin/env python3
"""The planner's program links no MPI, BLAS or CUDA, and plans: usage check_planner.py build/plan/farscale."""
import json
import re
import subprocess
import sys

program = sys.argv[1]
libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
forbidden = re.findall(r"\S*(?:mpi|blas|dnnl|cuda|cublas|nccl|benchmark)\S*\.so\S*", libraries)
if forbidden:
    sys.exit(f"{program} links {', '.join(forbidden)}")
plan = subprocess.run([program, "plan", "xai-300k-b200", "--json"], capture_output=True, text=True, check=True).stdout
if not json.loads(plan)["plans"][0]["timeline"]:
    sys.exit("the plan has no timeline")
measure = subprocess.run([program, "run", "quick"], capture_output=True, text=True)
if measure.returncode != 3:
    sys.exit(f"`run` without the measuring half exits {measure.returncode}, not 3: {measure.stderr}")
