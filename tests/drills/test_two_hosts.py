import subprocess
from pathlib import Path

import pytest

from tests.drills import two_hosts
from tests.drills.hosts import Hosts, NoNamespacesError


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts() -> Hosts:
    """Hosts, where they can be made."""
    try:
        with Hosts() as made:
            return made
    except NoNamespacesError as reason:
        pytest.skip(str(reason))


def test_hosts_leave_no_process_and_no_namespace(hosts: Hosts) -> None:
    with hosts:
        assert all(name in namespaces() for name in hosts.names)
        process = subprocess.Popen(hosts.on(1, "sleep", "60"))
        while str(process.pid) not in subprocess.check_output(["ip", "netns", "pids", hosts.names[1]], text=True):
            assert process.poll() is None
    assert process.wait(5) == -9
    assert not any(name in namespaces() for name in hosts.names)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "there is no `ip`; Debian has it in iproute2"),
        ("echo not permitted >&2; exit 1", "`ip netns add bet[0-9]+a`: not permitted"),
        ('test "$2" != add || test "$1" = netns || { echo no veth >&2; exit 1; }', "`ip link add .*`: no veth"),
    ],
)
def test_machines_without_namespaces_say_so(
    script: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        (tmp_path / "ip").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoNamespacesError, match=reason), Hosts():
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("hosts")
def test_a_run_that_lost_the_link_ends_and_goes_on_like_an_undisturbed_one(capsys: pytest.CaptureFixture[str]) -> None:
    two_hosts.main([])
    assert capsys.readouterr().out.strip().endswith("equal, bit for bit")
