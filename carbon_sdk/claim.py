"""Who runs in this process: one at most, for two would count the same joules.

The holder is closed at the end of the process and rests while the process forks; in a child all begin anew.
"""

import atexit
import os
import threading
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from carbon_sdk import ending
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.thread import Thread


class Claimant(Protocol):
    """What may run in a process."""

    def close(self) -> None:
        """Hand everything over and stop."""

    def rest(self) -> Thread | None:
        """Bring its thread to rest; None where there is none that must go on after the fork."""

    def after_fork(self) -> None:
        """Begin anew, in a child."""


Holder = TypeVar("Holder", bound=Claimant)


class Claim(Generic[Holder]):
    """The claim to a process; made once, for it takes part in each fork and in the end of the process."""

    def __init__(self) -> None:
        self.holder: Holder | None = None
        """Who runs."""
        self._known: WeakSet[Holder] = WeakSet()
        self._lock = threading.Lock()
        self._fork = threading.local()
        """Of the thread that forks: which thread of ours it has brought to rest."""
        atexit.register(self._at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def know(self, claimant: Holder) -> None:
        """Tell it when it finds itself in a child, whether it runs by then or not."""
        self._known.add(claimant)

    def take(self, claimant: Holder) -> None:
        """It runs from now on.

        Raises:
            CarbonSDKError: Another one does.
        """
        with self._lock:
            if self.holder is not None and self.holder is not claimant:
                raise CarbonSDKError(
                    "another Carbon runs in this process and would count the same joules; "
                    "close it first, or hand it to the middleware with carbon="
                )
            self.holder = claimant
        ending.arrange(self._at_exit)

    def release(self, claimant: Holder) -> None:
        """It has stopped."""
        with self._lock:
            if self.holder is claimant:
                self.holder = None

    def _at_exit(self) -> None:
        if self.holder is not None:
            self.holder.close()

    def _before_fork(self) -> None:
        self._fork.at_rest = None if self.holder is None else self.holder.rest()

    def _in_parent(self) -> None:
        if self._fork.at_rest is not None:
            self._fork.at_rest.go_on()

    def _in_child(self) -> None:
        self._lock, self.holder = threading.Lock(), None
        for claimant in self._known:
            claimant.after_fork()
