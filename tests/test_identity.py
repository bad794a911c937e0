"""Which machine a record comes from."""

from pathlib import Path

import pytest

from carbon_sdk.identity import machine_mark


def kernel(root: Path, boot_id: str) -> Path:
    """A /proc that tells its kernel's life and our control group."""
    for name, text in {"sys/kernel/random/boot_id": boot_id, "self/cgroup": "0::/pod"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    (root / "self/ns").mkdir()
    for name in ("cgroup", "mnt"):
        (root / "self/ns" / name).symlink_to(f"{name}:[1]")
    return root


def test_processes_of_one_kernel_are_on_one_machine_and_those_of_two_are_not(tmp_path: Path) -> None:
    """Its life tells them apart; a container's book is its own."""
    one, other = kernel(tmp_path / "one", "1-2-3"), kernel(tmp_path / "other", "4-5-6")

    assert machine_mark(one, container=False) == machine_mark(one, container=False)
    assert len({machine_mark(root, container=inside) for root in (one, other) for inside in (True, False)}) == 4


@pytest.mark.parametrize("container", [False, True])
def test_machines_whose_kernel_does_not_tell_are_not_one(tmp_path: Path, container: bool) -> None:
    """In a sandbox, on macOS: a reader keeps one book a machine, so under one name all but one would vanish."""
    marks = [machine_mark(tmp_path, container=container, host=name) for name in ("web-1", "web-2", "web-1")]

    assert marks[0] == marks[2] != marks[1]
