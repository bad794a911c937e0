"""The thread for calls that may hang."""

import os
import threading

import pytest

from carbon_sdk.meters.worker import StuckError, Worker


def test_it_hands_back_what_a_call_returns_or_raises() -> None:
    """The caller sees no difference to a plain call."""
    worker = Worker("driver", limit_seconds=5)

    assert worker.call(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0)
    worker.close()


def test_a_call_that_hangs_is_never_joined_by_a_second_one() -> None:
    """Until it comes back every call fails at once; then calls are made again, and the late answer is thrown away."""
    go_on, calls = threading.Event(), []

    def hang() -> str:
        calls.append("hang")
        go_on.wait(10)
        return "late"

    worker = Worker("driver", limit_seconds=0.05)
    with pytest.raises(StuckError, match=r"driver did not answer within 0\.05 s"):
        worker.call(hang)
    with pytest.raises(StuckError, match="driver has not answered for 0 s"):
        worker.call(hang)
    go_on.set()
    answer = None
    while answer is None:
        try:
            answer = worker.call(lambda: "prompt")
        except StuckError:
            continue
    worker.close()

    assert answer == "prompt"
    assert calls == ["hang"]


def test_a_forked_child_begins_anew() -> None:
    """The parent's thread does not exist there."""
    worker = Worker("driver", limit_seconds=5)
    worker.call(lambda: 1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(worker.call(os.getpid)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    worker.close()

    assert int(os.read(reader, 32)) == child
    os.close(reader)
    os.close(writer)


def test_it_may_be_closed_twice() -> None:
    """And before it was ever used."""
    worker = Worker("driver", limit_seconds=5)
    worker.close()
    worker.call(lambda: 1)
    worker.close()
    worker.close()
