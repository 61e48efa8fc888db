"""The tasks of an export on a Ray cluster: one Ray task each, placed by Ray.

In the Ray worker the task is done by a worker process of our own (`Local` with one), which stays
for the next task. So a sample that ends its process ends ours: who is to blame is found out as on
one machine, and Ray never hears of it. What Ray sees to is the loss of its own workers and nodes:
it has such a task done again elsewhere. The attempt before may live on where nobody can reach it;
what it makes has the same bytes, under a temporary name of its own, and the fence keeps it out when
the run is over (`commit.Fence`).

Results come back by the number of their task; no pixel and no encoded byte goes through Ray.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from ..commit import Fence
from ..errors import RunError
from ..software import installed
from .attempt import STRAYS
from .local import Describe, Local, numbered

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
except ImportError as missing:
    raise RunError(
        f"--engine ray needs Ray ({missing}): pip install 'fastbucket[cluster]', here and on all "
        "nodes"
    ) from None

_LOOK_SECONDS = 0.5
"""How often the driver looks for results and for progress."""

_TELL_SECONDS = 1.0
"""How often a task tells its progress, at most."""

_END_SECONDS = 10.0
"""How long cancelled tasks may take to end. The fence does the rest."""


class Tally:
    """How far the attempts at tasks are: an actor. The last attempt at a task counts."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def tell(self, number: int, done: int) -> None:
        self._done[number] = done

    def take(self) -> dict[int, int]:
        """Task -> how much of it is done, where that changed since the last call."""
        done, self._done = self._done, {}
        return done


_mine: dict[bytes, Local] = {}
"""In a Ray worker: our process, by the setup that it was started with."""


def _attempt(
    key: bytes, setup: Any, timeout: float, job: str, number: int, task: Any, tally: Any
) -> tuple[str, Any, int, list[str]]:
    """Do a task, in a Ray worker. Returns what came of it as `worker` words it, how much progress
    that was, and what there is to say."""
    said: list[str] = []
    done = 0
    told = time.monotonic()

    def progress(n: int) -> None:
        nonlocal done, told
        done += n
        now = time.monotonic()
        if now - told >= _TELL_SECONDS:
            told = now
            tally.tell.remote(number, done)

    def describe(_: Any, position: int | None) -> str:
        return f"{_HERE}{'' if position is None else position}{_HERE}"

    try:
        local = _mine.get(key)
        if local is None:
            _check_node(setup)
            _end_mine()
            local = _mine[key] = Local(1, setup, timeout)
        local.say = said.append
        for _, result in local.map(job, [task], progress, describe):
            return "done", result, done, said
    except RunError as error:
        _end_mine()  # an engine that has raised is in the middle of something
        return "run_error", str(error), done, said
    except RuntimeError as error:
        _end_mine()
        return "bug", str(error), done, said
    raise AssertionError("an engine that ends without a result")


def _end_mine() -> None:
    while _mine:
        _mine.popitem()[1].__exit__(None, None, None)


_HERE = "\0"
"""Around a position in what a worker says: only the driver knows its sample's name."""


def _named(text: str, task: Any, describe: Describe) -> str:
    before, _, rest = text.partition(_HERE)
    position, _, after = rest.partition(_HERE)
    if not after and not position:
        return text
    return before + describe(task, int(position) if position else None) + after


def _check_node(setup: Mapping[str, Any]) -> None:
    """Raises RunError where this node cannot take part."""
    node = platform.node()
    for package, version in setup.get("software", {}).items():
        if (here := installed(package)) != version:
            raise RunError(
                f"node {node} has {package} {here}, the driver {version}, which may write other "
                "bytes: install the same everywhere"
            )
    try:
        if "fence" in setup:
            Fence(*setup["fence"]).check()
    except RunError:
        raise RunError(
            f"node {node} does not see {setup['fence'][0]}: the output must be a folder that all "
            "nodes share, under one path"
        ) from None


class Ray:
    """An engine like `Local`, whose tasks run on a cluster.

    workers: so many tasks at a time; 0: as many as the cluster has CPUs. address: as `ray.init`
    takes it. A Ray that the caller has initialised is used as it is, and left running.
    """

    def __init__(
        self,
        workers: int,
        setup: Any,
        timeout: float = 0.0,
        say: Callable[[str], None] = lambda text: None,
        address: str = "",
    ) -> None:
        self._count = workers
        self._setup = setup
        self._timeout = timeout
        self._say = say
        self._address = address
        self._ours = False
        self._pending: dict[Any, int] = {}
        self._tally: Any = None

    def __enter__(self) -> Ray:
        if not ray.is_initialized():
            try:
                ray.init(
                    address=self._address or None,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
            except (RayError, ConnectionError, RuntimeError, ValueError) as error:
                where = self._address or "RAY_ADDRESS, or of this machine"
                raise RunError(
                    f"no Ray cluster at {where}: {error}. ray start --head starts one"
                ) from None
            self._ours = True
        self._key = ray.get_runtime_context().get_job_id().encode() + repr(self._setup).encode()
        return self

    @property
    def workers(self) -> int:
        return self._count or int(ray.cluster_resources().get("CPU", 1))

    def start(self, tasks: int) -> None:
        """Ray starts its workers when it has tasks for them."""
        if self._tally is None:
            self._tally = ray.remote(Tally).options(num_cpus=0, max_restarts=-1).remote()

    def map(
        self,
        job: str,
        tasks: Iterable[Any],
        progress: Callable[[int], None] = lambda n: None,
        describe: Describe = numbered,
    ) -> Iterator[tuple[Any, Any]]:
        """Do the tasks and yield (task, result) as they end, in any order; see `Local.map`."""
        waiting = list(enumerate(tasks))
        self.start(len(waiting))
        waiting.reverse()
        todo = dict(waiting)
        told: dict[int, int] = {}
        attempt = ray.remote(_attempt).options(num_cpus=1, max_retries=STRAYS)
        try:
            while waiting or self._pending:
                while waiting and (not self._count or len(self._pending) < self._count):
                    number, task = waiting.pop()
                    reference = attempt.remote(
                        self._key, self._setup, self._timeout, job, number, task, self._tally
                    )
                    self._pending[reference] = number
                for reference in self._ended():
                    number = self._pending.pop(reference)
                    task = todo.pop(number)
                    kind, value, done, said = self._result(reference, task, describe)
                    for words in said:
                        self._say(_named(words, task, describe))
                    if kind == "run_error":
                        raise RunError(_named(value, task, describe))
                    if kind == "bug":
                        raise RuntimeError(value)
                    progress(done - told.pop(number, 0))
                    yield task, value
                for number, done in self._told().items():
                    if number in todo:
                        progress(done - told.get(number, 0))
                        told[number] = done
        finally:
            self._cancel()

    def _ended(self) -> list[Any]:
        """References of tasks that have ended, within one look."""
        pending = list(self._pending)
        ready, _ = ray.wait(pending, num_returns=1, timeout=_LOOK_SECONDS)
        if ready:
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        return list(ready)

    def _result(self, reference: Any, task: Any, describe: Describe) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:  # not of the task itself: `_attempt` returns what that raises
            raise RunError(
                f"{describe(task, None)}: {str(error).strip()}\nRay could not run it. Is the same "
                "fastbucket installed on every node?"
            ) from None
        except RayError as error:
            raise RunError(
                f"{describe(task, None)}: lost by Ray {STRAYS + 1} times: {str(error).strip()}. "
                "What is finished is kept, and the same command goes on from here"
            ) from None

    def _told(self) -> dict[int, int]:
        """Progress of tasks that are under way; none while the actor is being replaced."""
        with suppress(RayActorError, GetTimeoutError):
            return dict(ray.get(self._tally.take.remote(), timeout=10 * _LOOK_SECONDS))
        return {}

    def _cancel(self) -> None:
        """End what still runs, and our processes with it: they die with their Ray worker."""
        pending = list(self._pending)
        self._pending.clear()
        for reference in pending:
            with suppress(RayError):
                ray.cancel(reference, force=True)
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=_END_SECONDS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cancel()
        if self._tally is not None:
            with suppress(RayError):
                ray.kill(self._tally)
            self._tally = None
        if self._ours:
            ray.shutdown()
