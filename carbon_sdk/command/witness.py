"""Tells a signal to this process from one to its whole process group.

The command runs in our own process group, as under a shell, so that Ctrl-C, Ctrl-Z and `kill %1` reach it directly.
What is sent to us alone must be passed on, and nothing may arrive twice. The kernel does not say which it was. So a
**witness** stands in the group: a process that does nothing but receive signals, and answers which it got. What it got,
the command got too.
"""

import os
import signal
import time
from collections.abc import Collection

GROUP_SECONDS = 0.002
"""A signal to a group reaches its members one after the other, within microseconds."""
_ASK = b"?"


class Witness:
    """A process of our group that receives signals. Made before any thread, and with the signals blocked.

    Args:
        signals: Those that matter.
    """

    def __init__(self, signals: Collection[int]) -> None:
        asked, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ask)
            os.close(self._answers)
            _stand(signals, asked, answer)
        os.close(asked)
        os.close(answer)

    def got(self, number: int) -> bool:
        """Whether the group got this signal too since the last question."""
        time.sleep(GROUP_SECONDS)
        try:
            os.write(self._ask, _ASK)
            heard = os.read(self._answers, 256)
        except OSError:  # it was killed: then so was the group
            return True
        return number in heard or not heard

    def close(self) -> None:
        """Let it go, and wait for its end; a second call does nothing."""
        if self._ask >= 0:
            os.close(self._ask)
            os.close(self._answers)
            self._ask = self._answers = -1
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:  # reaped with the others
                return


def _stand(signals: Collection[int], asked: int, answer: int) -> None:
    """Answer each question with the numbers of the signals got since the last, until nobody asks any more."""
    try:
        for standard in (0, 1, 2):  # whoever reads the command's output waits for the command alone
            os.close(standard)
        while os.read(asked, 1):
            heard = set()
            while (info := signal.sigtimedwait(signals, 0)) is not None:
                heard.add(info.si_signo)
            os.write(answer, bytes([0, *heard]))
    finally:
        os._exit(0)
