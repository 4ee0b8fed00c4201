"""Commands in processes of their own, which end with the one that began them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch

log = logging.getLogger(__name__)
Command = Callable[[list[str]], None]


class Processes:
    """Runs commands of the command line in processes, from as many threads as there are at once."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def command(self, said: Path, environment: dict[str, str]) -> Command:
        """Return what runs a command, and raises ``SystemExit`` where it fails.

        Args:
            said: File that its output is added to.
            environment: Its environment variables.
        """

        def command(args: list[str]) -> None:
            with said.open("ab") as output:
                program = [sys.executable, "-m", "bet_lightning", *args]
                with self._lock:
                    if self._ended:
                        raise SystemExit(1)
                    process = subprocess.Popen(program, stdout=output, stderr=output, env=environment)
                    self._running.add(process)
            code = process.wait()
            self._running.discard(process)
            if code:
                log.error("%s ended with %d: see %s", args[0], code, said)
                raise SystemExit(1)

        return command

    def end(self) -> None:
        """Tell all processes to end, and begin no further one."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


def environment_of(slot: int, jobs: int) -> dict[str, str]:
    """Return the environment of one of several processes: a GPU in turn where there are any, a share of the threads.

    Args:
        slot: Number of the process, from 0.
        jobs: How many processes there are at once.
    """
    environment = dict(os.environ)
    gpus = torch.cuda.device_count()
    if gpus:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        environment["CUDA_VISIBLE_DEVICES"] = (visible or [str(gpu) for gpu in range(gpus)])[slot % gpus]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return environment
