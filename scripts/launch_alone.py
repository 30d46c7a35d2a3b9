#!/usr/bin/env python3
"""Starts a command as N ranks on this machine without MPI, told apart as torchrun does; called by scripts/launch.

    launch_alone.py RANKS CORES_EACH COMMAND...

Each rank is bound to CORES_EACH CPUs of its own (0: to none). Ends with the first exit code that is not 0 (128 + signal
for a killed rank); the ranks left then have ten seconds to save what they have.
"""
import os
import signal
import socket
import subprocess
import sys

GRACE_S = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(rank, ranks, each, command, port):
    environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    environment.setdefault("MASTER_ADDR", "127.0.0.1")
    environment.setdefault("MASTER_PORT", port)
    cpus = sorted(os.sched_getaffinity(0))[rank * each:(rank + 1) * each]
    bind = (lambda: os.sched_setaffinity(0, cpus)) if each and cpus else None
    return subprocess.Popen(command, env=environment, preexec_fn=bind)


def main():
    ranks, each, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    port = str(free_port())
    try:
        running = {p.pid: p for p in (start(rank, ranks, each, command, port) for rank in range(ranks))}
    except OSError as error:
        sys.exit(f"launch: {error}")

    def send_all(number):
        for pid in list(running):
            os.kill(pid, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: send_all(signal.SIGTERM))
    signal.signal(signal.SIGALRM, lambda *_: send_all(signal.SIGKILL))
    code = 0
    while running:
        pid, status = os.wait()
        del running[pid]
        ended = os.waitstatus_to_exitcode(status)
        if ended != 0 and code == 0:
            code = ended if ended > 0 else 128 - ended
            signal.alarm(GRACE_S)
    sys.exit(code)


if __name__ == "__main__":
    main()
