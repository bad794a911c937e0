"""A process that measures itself says so to those it descends from, and they book no more of it.

Over datagram sockets in Linux's abstract namespace: no file is left, and neither environment nor arguments change.
"""

import os
import socket

MAXIMUM_ANCESTORS = 32
MAXIMUM_BYTES = 1024
SEND_SECONDS = 1.0  # a queue holds ten messages where the host has not set more, and is emptied at least once a window


class Listener:
    """Hears which descendants of this process measure themselves; deaf where its address cannot be had."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(_address(os.getpid()))
        except OSError:
            self.close()

    def heard(self) -> list[tuple[int, list[int]]]:
        """What was said since the last call: CPU nanoseconds before its own account began, and pids from it upwards."""
        messages = []
        while self._socket is not None:
            try:
                used_ns, *pids = self._socket.recv(MAXIMUM_BYTES).split()
                messages.append((int(used_ns), [int(pid) for pid in pids]))
            except BlockingIOError:
                break
            except ValueError:  # nothing that we have said
                continue
        return messages

    def close(self) -> None:
        """Hear no more."""
        own, self._socket = self._socket, None
        if own is not None:
            own.close()


def tell(used_ns: int) -> None:
    """Say that this process measures itself.

    Args:
        used_ns: CPU nanoseconds that it had used when its own account began.
    """
    pids = _ancestry()
    message = " ".join(str(number) for number in (used_ns, *pids)).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.settimeout(SEND_SECONDS)
        for pid in pids[1:]:
            try:
                own.sendto(message, _address(pid))
            except OSError:  # nobody listens there, as a rule
                continue


def _ancestry() -> list[int]:
    """This process, its parent, and so on: in a container the first process may be a service."""
    pids = [os.getpid()]
    above = os.getppid()
    while above > 0 and len(pids) < MAXIMUM_ANCESTORS:
        pids.append(above)
        try:
            with open(f"/proc/{above}/stat", "rb") as file:
                above = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:  # it has just ended, or we may not look
            break
    return pids


def _address(pid: int) -> str:
    """Containers of one pod share the sockets' namespace and not that of the pids, so both are in it."""
    return f"\0carbon_sdk.{os.stat('/proc/self/ns/pid').st_ino}.{pid}"
