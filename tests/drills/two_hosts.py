"""``python -m tests.drills.two_hosts``: cut the network between two hosts in the middle of a fit, resume, compare.

The hosts are network namespaces of this machine with a rank each, which talk through gloo. A run with all phases goes
through undisturbed. Another loses the link while its ranks pretrain together, and, continued, again while they probe
actions of their own. Each time all processes must end with an error soon after the timeout, and say why in one line.
What the run has left in the end must equal the undisturbed one's, bit for bit, except seconds and paths.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.conftest import write_config
from tests.drills.hosts import ADDRESSES, DEVICE, Hosts, NoNamespacesError
from tests.drills.kill_resume import SETTINGS, remains

TO_END = 30.0  # seconds that a process may take to end once it has waited for the timeout
TO_FINISH = 300.0  # seconds that a run may take


@dataclass(frozen=True)
class Fit:
    """A run that both hosts share.

    Attributes:
        hosts: Where.
        config: Its settings; the run folder lies beside them.
        timeout: Seconds that ranks wait for each other.
        launcher: ``torchrun``, or ``slurm``: with the variables of a job that Lightning reads, as ``srun`` sets them.
    """

    hosts: Hosts
    config: Path
    timeout: float
    launcher: str

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.with_suffix("")

    def log(self, host: int) -> Path:
        """Return where what a host said lies."""
        return self.config.with_suffix(f".{host}.log")

    def start(self, *more: str) -> list[subprocess.Popen[bytes]]:
        """Start ``fit`` on both hosts; their logs begin again."""
        return [self._start(host, *more) for host in range(2)]

    def _start(self, host: int, *more: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": DEVICE}
        command = [sys.executable]
        if self.launcher == "torchrun":
            command += ["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={host}", "--nproc-per-node=1"]
            command += [f"--master-addr={ADDRESSES[0]}"]
        else:
            environment |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "fit", "SLURM_NODELIST": ",".join(ADDRESSES)}
            environment |= {"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
            environment |= {"SLURM_NODEID": str(host), "SLURM_PROCID": str(host), "SLURM_LOCALID": "0"}
        command += ["-m", "bet_lightning", "fit", "--config", str(self.config), *more]
        command += ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=DDPStrategy"]
        command += [f"--trainer.strategy.timeout={timedelta(seconds=self.timeout)}"]
        with self.log(host).open("wb") as log:
            command = self.hosts.on(host, *command)
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def finish(self, *more: str) -> None:
        """Run ``fit`` to its end.

        Raises:
            RuntimeError: If it fails on a host.
        """
        processes = self.start(*more)
        codes = [code for code, _ in ends(processes, TO_FINISH)]
        if any(codes):
            said = "\n".join(self.log(host).read_text()[-3000:] for host in range(2))
            raise RuntimeError(f"{self.config.stem}: fit ended with {codes}\n{said}")

    def cut(self, due: Callable[[Path], bool], *more: str) -> str:
        """Run ``fit``, cut the link once it is due, and wait for the end.

        Returns:
            What became of both hosts' processes, in words.

        Raises:
            RuntimeError: If a process ends before the cut, too late after it, without an error, or with more than a
                line about it.
        """
        processes = self.start(*more)
        while not due(self.folder) and all(process.poll() is None for process in processes):
            time.sleep(0.01)
        self.hosts.cut()
        ended = ends(processes, self.timeout + TO_END)
        self.hosts.join()
        became = []
        for host, (code, after) in enumerate(ended):
            said = self.log(host).read_text()
            lines = [line for line in said.splitlines() if line.startswith(("error: ", f"[rank{host}]:"))]
            if code != 1 or len(lines) != 1:
                raise RuntimeError(f"{self.config.stem}: host {host} ended with {code}\n{said[-3000:]}")
            became.append(f"host {host} ended with {code} after {after:.1f} s ({lines[0]})")
        return ", ".join(became)


def ends(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[tuple[int, float]]:
    """Wait for all processes; exit code and seconds of each. What has not ended in time is killed, as code -9 says."""
    begin = time.monotonic()
    after: dict[int, float] = {}
    while len(after) < len(processes):
        late = time.monotonic() - begin > seconds
        for process in processes:
            if late:
                process.kill()
            if process.poll() is not None:
                after.setdefault(process.pid, time.monotonic() - begin)
        time.sleep(0.02)
    return [(process.returncode, after[process.pid]) for process in processes]


def pretrains(folder: Path) -> bool:
    """Whether a run has trained an epoch."""
    return (folder / "checkpoints" / "last.ckpt").exists()


def probes(folder: Path) -> bool:
    """Whether a run has half of its probes."""
    path = folder / "actions.jsonl"
    return path.exists() and path.read_text().count("\n") > SETTINGS["search"]["num_iterations"] // 2


def main(args: Sequence[str] | None = None) -> None:
    """Run the drill.

    Raises:
        NoNamespacesError: If network namespaces cannot be made here.
        RuntimeError: If a run fails, does not end when the link is cut, or differs once resumed.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.drills.two_hosts", description=__doc__)
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds that ranks wait for each other")
    parser.add_argument("--launcher", choices=("torchrun", "slurm"), default="torchrun")
    options = parser.parse_args(args)
    begin = time.monotonic()

    def step(done: str) -> None:
        nonlocal begin
        print(f"{time.monotonic() - begin:6.1f} s  {done}", flush=True)
        begin = time.monotonic()

    with tempfile.TemporaryDirectory() as temporary, Hosts() as hosts:
        step("two network namespaces, joined")
        configs = (write_config(Path(temporary), name, **SETTINGS) for name in ("undisturbed", "cut"))
        undisturbed, cut = (Fit(hosts, config, options.timeout, options.launcher) for config in configs)
        undisturbed.finish()
        expected = remains(undisturbed.folder)
        step(f"undisturbed: {len(expected['actions'])} probes, {len(expected['results'])} results")
        step(f"cut while pretraining: {cut.cut(pretrains)}")
        step(f"resumed, cut while probing: {cut.cut(probes, '--ckpt_path=last')}")
        cut.finish("--ckpt_path=last")
        found = remains(cut.folder)
        differing = [part for part, value in expected.items() if found[part] != value]
        step(f"resumed, to the end: {', '.join(expected)} {differing or 'equal, bit for bit'}")
        if differing:
            raise RuntimeError(f"{', '.join(differing)} differ")


if __name__ == "__main__":
    try:
        main()
    except NoNamespacesError as reason:
        print(f"skipped: {reason}")
