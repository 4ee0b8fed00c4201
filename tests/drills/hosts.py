"""Two hosts on one machine: network namespaces, and a cable between them that can be cut."""

import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from types import TracebackType

DEVICE = "eth0"  # in both namespaces: the two ends of the cable
ADDRESSES = ("10.0.0.1", "10.0.0.2")


class NoNamespacesError(Exception):
    """This machine does not let the process make network namespaces."""


class Hosts:
    """Two network namespaces that share all else, the file system too, and see nothing of the network around them.

    Attributes:
        names: Of the namespaces.

    Raises:
        NoNamespacesError: On entering, if they cannot be made: without root or ``ip``, or where it is forbidden.
    """

    def __init__(self) -> None:
        self.names = tuple(f"bet{os.getpid()}{end}" for end in "ab")
        self._stack = ExitStack()

    def __enter__(self) -> "Hosts":
        try:
            with ExitStack() as stack:
                for name in self.names:
                    _ip("netns", "add", name)
                    stack.callback(_ip, "netns", "delete", name)
                    stack.callback(_end_all, name)
                first, second = self.names
                ends = (DEVICE, "netns", first, "type", "veth", "peer", "name", DEVICE, "netns", second)
                _ip("link", "add", *ends)
                for name, address in zip(self.names, ADDRESSES, strict=True):
                    _ip("-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
                    _ip("-n", name, "link", "set", "lo", "up")
                self.join()
                self._stack = stack.pop_all()
        except FileNotFoundError:
            raise NoNamespacesError("there is no `ip`; Debian has it in iproute2") from None
        except subprocess.CalledProcessError as error:
            raise NoNamespacesError(f"`{' '.join(error.cmd)}`: {error.stderr.strip()}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def join(self) -> None:
        """Plug the cable in."""
        for name in self.names:
            _ip("-n", name, "link", "set", DEVICE, "up")

    def cut(self) -> None:
        """Pull the cable out: no host hears anything of the other any more, not even that it is gone."""
        _ip("-n", self.names[0], "link", "set", DEVICE, "down")

    def on(self, host: int, *command: str) -> list[str]:
        """Return a command as run on a host, 0 or 1."""
        return ["ip", "netns", "exec", self.names[host], *command]


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _end_all(name: str) -> None:
    """End what still runs in a namespace, whoever started it there."""
    for number in _ip("netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)
