"""The command's control group, of the real kernel, by either version of its interface."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbon_sdk.command.group import PREFIX, Group

BURN = "import time\nwhile time.process_time() < 0.3: pass"


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    """One of a kernel that shows its groups by this version alone."""
    own = tmp_path / "self"
    own.mkdir()
    kept = {"cgroup": lambda line: line.startswith("0::") is (request.param == 2)}
    kept["mountinfo"] = lambda line: (" - cgroup2 " in line) is (request.param == 2)
    for name, keeps in kept.items():
        lines = Path("/proc/self", name).read_text(encoding="utf-8").splitlines(keepends=True)
        (own / name).write_text("".join(filter(keeps, lines)), encoding="utf-8")
    made = Group.make(tmp_path)
    if made is None:
        pytest.skip(f"this user may make no control group of version {request.param} here")
    yield made
    made.close()


def memberships() -> set[str]:
    """Lines of the groups in which any thread of this process is."""
    return {line for one in Path("/proc/self/task").glob("*/cgroup") for line in one.read_text().splitlines()}


def test_what_is_started_in_it_is_counted_and_this_process_is_not(group: Group) -> None:
    """Not before, and not after."""
    over = threading.Event()
    beside = threading.Thread(target=over.wait)
    beside.start()
    before = memberships()
    try:
        assert group.enter()
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", BURN], {})
        group.leave()
        assert memberships() == before
        _, _, usage = os.wait4(pid, 0)
        counted = group.cpu_ns() / 1e9
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass

        assert counted == pytest.approx(usage.ru_utime + usage.ru_stime, rel=0.03, abs=0.005)
        assert group.cpu_ns() / 1e9 == pytest.approx(counted, abs=0.001)
    finally:
        over.set()
        beside.join()


def test_who_still_runs_at_its_end_goes_on_in_the_group_around_it(group: Group) -> None:
    """And none of ours is left."""
    assert group.enter()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    group.leave()
    own = Path(f"/proc/{pid}/cgroup")
    try:
        assert PREFIX in own.read_text()

        group.close()

        assert PREFIX not in own.read_text()
        assert Path("/proc/self/cgroup").read_text() == own.read_text()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
