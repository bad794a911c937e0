"""Every foreign name that we wrap, in one list: where work is handed to a thread or to the loop, where a child starts.

- `ThreadPoolExecutor.submit`, `threading.Thread.start`, anyio's `run_sync_in_worker_thread` and `TaskGroup._spawn`;
- `get_task_factory` and `set_task_factory` of the classes of loops that are followed;
- of asyncio's loops `call_at`, through which `call_later` goes, of uvloop's `call_later`, through which `call_at` goes;
  of both `call_soon_threadsafe`, `add_reader`, `add_writer`. Not `call_soon`: each step of a task passes through it;
- `subprocess.Popen.__init__`, and what reaps: its `_try_wait` and `_internal_poll`, asyncio's child watchers; uvloop's
  `subprocess_exec` and `subprocess_shell`, whose children nobody sees reaped.

Each wrapper calls what stood there before it, whoever put it there, and does nothing but that outside a span. The
wrappers stay once they are put in, so that others may wrap them in turn.
"""

from __future__ import annotations  # or those of an inner function are built anew at each call

import asyncio
import functools
import inspect
import subprocess
import sys
import threading
from asyncio import selector_events
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import MethodType
from typing import Any

from carbon_sdk.cpu import children
from carbon_sdk.cpu.driver import THREAD, current
from carbon_sdk.cpu.owner import Owner
from carbon_sdk.cpu.tasks import TaskFactory, followed

ALARMS = frozenset(("asyncio.futures", "asyncio.timeouts", "anyio._backends._asyncio"))
"""Modules whose timers wake or cancel somebody and do no work: those of sleeps, time limits and cancel scopes."""

EAGER_CODE = getattr(getattr(asyncio, "eager_task_factory", None), "__code__", None)
"""By which anyio knows asyncio's factory of eager tasks. Python 3.12."""
_wrapped: set[str] = set()
_factories: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {}


def bound(function: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    """The function, its CPU time booked to an owner on whatever thread it runs."""
    return functools.partial(_run, owner, function)


def _run(owner: Owner, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    slot = THREAD.slot
    outer = slot.switch(owner)
    try:
        return function(*args, **kwargs)
    finally:
        slot.switch(outer)


def follow_threads() -> None:
    """Wrap the places where work is handed to threads, those that are loaded by now; each once."""
    if "threads" not in _wrapped:
        _wrapped.add("threads")
        _wrap_submit()
        _wrap_start()
    if "anyio" in sys.modules and "anyio" not in _wrapped:
        _wrapped.add("anyio")
        _wrap_anyio(import_module("anyio._backends._asyncio"))


def _wrap_submit() -> None:
    submit: Any = ThreadPoolExecutor.submit

    @functools.wraps(submit)
    def submit_bound(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        owner = current()
        return submit(self, fn if owner is None else bound(fn, owner), *args, **kwargs)

    ThreadPoolExecutor.submit = submit_bound  # type: ignore[method-assign, assignment]


def _wrap_start() -> None:
    start = threading.Thread.start

    @functools.wraps(start)
    def start_bound(self: threading.Thread) -> None:
        owner = current()
        if owner is not None:
            try:
                _bind_run(self, owner)
            except Exception as exc:
                if not owner.spoil("cpu.threads", exc):
                    raise
        start(self)

    threading.Thread.start = start_bound  # type: ignore[method-assign]


def _bind_run(thread: threading.Thread, owner: Owner) -> None:
    if _serves_others(thread):
        return
    run = bound(thread.run, owner)

    def run_once(self: threading.Thread) -> None:
        vars(self).pop("run", None)  # or the thread would refer to itself, and wait for the garbage collector
        run()

    thread.run = MethodType(run_once, thread)  # type: ignore[method-assign]  # others ask a method for its function


def _serves_others(thread: threading.Thread) -> bool:
    """A pool's worker outlives the span that happened to start it; its work comes with an owner of its own."""
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", "") or type(thread).__module__
    return module.startswith("concurrent.futures") or type(thread).__module__.startswith(("anyio.", "carbon_sdk."))


def _wrap_anyio(backend: Any) -> None:
    cls = backend.AsyncIOBackend
    run_sync = cls.run_sync_in_worker_thread.__func__

    @functools.wraps(run_sync)
    async def run_sync_bound(kind: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        owner = current()
        return await run_sync(kind, func if owner is None else bound(func, owner), *args, **kwargs)

    cls.run_sync_in_worker_thread = classmethod(run_sync_bound)
    if EAGER_CODE is not None:
        _wrap_spawning(backend.TaskGroup)


def _wrap_spawning(cls: Any) -> None:
    """A group makes its tasks by itself where the loop's factory is asyncio's eager one, past every factory."""
    spawn = cls._spawn

    @functools.wraps(spawn)
    def spawn_followed(self: Any, work: Any, *args: Any, **options: Any) -> Any:
        owner = current()
        if owner is not None:
            factory = asyncio.get_running_loop().get_task_factory()
            if getattr(factory, "__code__", None) is EAGER_CODE:
                try:
                    work = followed(work, owner) if asyncio.iscoroutine(work) else _following(work, owner)
                except Exception as exc:
                    if not owner.spoil("cpu.tasks", exc):
                        raise
        return spawn(self, work, *args, **options)

    cls._spawn = spawn_followed


def _following(function: Callable[..., Any], owner: Owner) -> Callable[..., Any]:
    """What older versions of anyio hand over: a function that gives the coroutine."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        coro = function(*args, **options)
        return followed(coro, owner) if asyncio.iscoroutine(coro) else coro

    return call


def follow_tasks(loop: asyncio.AbstractEventLoop) -> TaskFactory:
    """Put our factory in front of the loop's; a second call finds it there.

    Whoever asks for the loop's factory afterwards, or sets one, gets and sets the one behind ours.
    """
    get, put = _factory_methods(type(loop))
    theirs = get(loop)
    ours = TaskFactory.behind(theirs)
    if ours is None:
        ours = TaskFactory(theirs)
        put(loop, ours.task)
    ours.active = True
    return ours


def _factory_methods(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    """The class's own methods, from before they were wrapped."""
    known = next((_factories[each] for each in cls.__mro__ if each in _factories), None)
    if known is not None:
        return known
    get, put = _factories[cls] = cls.get_task_factory, cls.set_task_factory

    @functools.wraps(get)
    def get_theirs(self: Any) -> Any:
        factory = get(self)
        ours = TaskFactory.behind(factory)
        return factory if ours is None else ours.before

    @functools.wraps(put)
    def put_theirs(self: Any, factory: Any) -> None:
        ours = TaskFactory.behind(get(self))
        if ours is not None and (factory is None or callable(factory)):
            ours.before = factory
        else:
            put(self, factory)

    cls.get_task_factory, cls.set_task_factory = get_theirs, put_theirs
    return get, put


def follow_callbacks() -> None:
    """Wrap the places where a callback is handed to a loop, of asyncio and of uvloop if that is loaded; each once."""
    if "callbacks" not in _wrapped:
        _wrapped.add("callbacks")
        _wrap_callback(asyncio.BaseEventLoop, "call_at", place=1)
        _wrap_callback(asyncio.BaseEventLoop, "call_soon_threadsafe", place=0)
        for name in ("add_reader", "add_writer"):
            _wrap_callback(selector_events.BaseSelectorEventLoop, name, place=1, outlives=False)
    if "uvloop" in sys.modules and "uvloop" not in _wrapped:
        _wrapped.add("uvloop")
        loop = sys.modules["uvloop"].Loop
        _wrap_callback(loop, "call_later", place=1)
        _wrap_callback(loop, "call_soon_threadsafe", place=0)
        for name in ("add_reader", "add_writer"):
            _wrap_callback(loop, name, place=1, outlives=False)


def _wrap_callback(cls: Any, method: str, *, place: int, outlives: bool = True) -> None:
    """Make what the method is given at this place, when called in a span, the span's.

    A timer may fire after its span has ended. What waits for a file is often a connection, which serves others then.
    """
    hand_over = getattr(cls, method)
    timer = method in ("call_at", "call_later")

    @functools.wraps(hand_over)
    def hand_over_bound(self: Any, *args: Any, **options: Any) -> Any:
        owner = current()
        if owner is not None and len(args) > place:
            callback = args[place]
            try:
                if not (timer and _is_nobodys(callback)) and _bindable(self, callback):
                    args = (*args[:place], _named(callback, owner, outlives=outlives), *args[place + 1 :])
            except Exception as exc:  # a callback that does not like to be looked at
                if not owner.spoil("cpu.callbacks", exc):
                    raise
        return hand_over(self, *args, **options)

    setattr(cls, method, hand_over_bound)


def _is_nobodys(callback: Any) -> bool:
    """An alarm, or a timer of a connection, which outlives the request that it serves."""
    return isinstance(getattr(callback, "__self__", None), asyncio.BaseProtocol) or (
        getattr(callback, "__module__", None) in ALARMS
    )


def _named(callback: Callable[..., Any], owner: Owner, *, outlives: bool) -> Callable[..., Any]:
    """`bound`, under the callback's own name: asyncio shows it in its logs."""

    @functools.wraps(callback, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
    def call(*args: Any) -> Any:
        if owner.ended and not outlives:
            return callback(*args)
        return _run(owner, callback, *args)

    return call


def _bindable(loop: asyncio.AbstractEventLoop, callback: Any) -> bool:
    """Nothing that the loop would refuse, so that it still does."""
    return callable(callback) and not (loop.get_debug() and inspect.iscoroutinefunction(callback))


WATCHERS = {"PidfdChildWatcher": "_do_wait", "ThreadedChildWatcher": "_do_waitpid", "SafeChildWatcher": "_do_waitpid"}
"""asyncio's, and the method of each that reaps one child. FastChildWatcher reaps whatever comes: it is not followed."""


def follow_children() -> None:
    """Wrap the places where a child process starts and where it is reaped, where its CPU can be read; each once."""
    if not children.SUPPORTED:
        return
    if "uvloop" in sys.modules and "uvloop children" not in _wrapped:
        _wrapped.add("uvloop children")
        for name in ("subprocess_exec", "subprocess_shell"):
            _wrap_spawn(sys.modules["uvloop"].Loop, name)
    if "children" in _wrapped:
        return
    _wrapped.add("children")
    _wrap_popen()
    _wrap_reaping(subprocess.Popen, "_try_wait", lambda child, flags: (child.pid, flags == 0))
    _wrap_reaping(subprocess.Popen, "_internal_poll", lambda child, *_args, **_options: (child.pid, False))
    for name, method in WATCHERS.items():
        watcher = getattr(asyncio.unix_events, name, None) or getattr(asyncio.unix_events, f"_{name}", None)
        if watcher is not None and method in vars(watcher):
            _wrap_reaping(watcher, method, _watched)


def _wrap_popen() -> None:
    cls: Any = subprocess.Popen
    init = cls.__init__

    @functools.wraps(init)
    def init_followed(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        owner = current()
        if owner is not None:
            children.started(self.pid, owner)

    cls.__init__ = init_followed


def _wrap_spawn(cls: Any, method: str) -> None:
    """Follow a child that the loop starts by itself, and reaps where nobody can look at it before."""
    spawn = getattr(cls, method)

    @functools.wraps(spawn)
    async def spawn_followed(self: Any, *args: Any, **options: Any) -> Any:
        transport, protocol = await spawn(self, *args, **options)
        owner = current()
        if owner is not None:
            children.started(transport.get_pid(), owner, seen_to_end=False)
        return transport, protocol

    setattr(cls, method, spawn_followed)


def _wrap_reaping(cls: Any, method: str, whom: Callable[..., tuple[int, bool]]) -> None:
    """Look at a child before the method reaps it; `whom` tells its pid, and whether the method waits for its end."""
    reap = getattr(cls, method)

    @functools.wraps(reap)
    def reap_followed(*args: Any, **options: Any) -> Any:
        if children.RUNNING:
            pid, wait = whom(*args, **options)
            children.ending(pid, wait=wait)
        return reap(*args, **options)

    setattr(cls, method, reap_followed)


def _watched(_watcher: Any, *args: Any) -> tuple[int, bool]:
    """Whom a watcher reaps: `(pid, ...)`, of a child that has ended, or `(loop, pid, ...)` in a thread that waits."""
    return (args[0], False) if isinstance(args[0], int) else (args[1], True)
