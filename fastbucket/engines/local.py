"""Worker processes on this machine.

Workers are fresh interpreters (never forks: libvips is threaded, and a process that has used it
must not fork), each on a socket pair. Nothing of the caller's main module is imported in them, so
a script or a notebook needs no `if __name__ == "__main__"`. They lead process groups of their own:
Ctrl-C reaches the parent alone, which ends them.

A worker that dies, or stands still for longer than it may, is replaced, and its task is done again:
`attempt` says how often, and whom it leaves out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

from ..errors import RunError
from .attempt import STRAYS, Attempt
from .process import Ended, Worker
from .watch import Watch

Describe = Callable[[Any, "int | None"], str]
"""(task, position) -> what it is, for people."""


def numbered(task: Any, position: int | None) -> str:
    """A `Describe` for want of another."""
    return f"task {task}" if position is None else f"position {position} of task {task}"


class Local:
    """An engine of `workers` processes; `setup` is handed to the factory of every job.

    setup["preload"], if there, names modules that a worker imports while it has nothing to do.
    timeout: seconds that a worker may stay at one position of a task, see `watch`; 0: for ever.
    say: called with a line of text where a worker had to be replaced.
    """

    def __init__(
        self,
        workers: int,
        setup: Any,
        timeout: float = 0.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._count = workers
        self._setup = setup
        self._timeout = timeout
        self.say = say
        self._workers: list[Worker] = []

    @property
    def workers(self) -> int:
        return self._count

    def __enter__(self) -> Local:
        return self

    def start(self, tasks: int) -> None:
        """Start the workers that so many tasks can use; `map` does it too, this does it early."""
        while len(self._workers) < min(self._count, tasks):
            self._workers.append(Worker(self._setup))

    def map(
        self,
        job: str,
        tasks: Iterable[Any],
        progress: Callable[[int], None] = lambda n: None,
        describe: Describe = numbered,
    ) -> Iterator[tuple[Any, Any]]:
        """Do the tasks and yield (task, result) as they end, in any order.

        job: "module:factory", see `worker`. progress: called with what tasks report meanwhile; less
        than zero where it was lost with a worker.
        Raises RunError for what a task raised as such, and where workers die during one task again
        and again without a position of it that were to blame.
        """
        waiting = deque(map(Attempt, tasks))
        self.start(len(waiting))
        watch = Watch(self._timeout)
        while heard := self._heard(job, waiting):
            for connection in wait(list(heard), watch.pause()):
                worker = heard[connection]
                try:
                    kind, value = worker.receive()
                except Ended as end:
                    self._again(worker, end, job, waiting, progress, describe)
                    continue
                attempt = worker.attempt
                if attempt is None or kind == "ready":
                    continue
                if kind == "progress":
                    if attempt.suspect is None:
                        worker.told += value
                        progress(value)
                elif kind == "survived":
                    attempt.survived()
                    worker.ask(job, attempt)
                else:
                    worker.attempt = None
                    if waiting:
                        worker.ask(job, waiting.popleft())
                    yield attempt.task, value
            for worker in list(watch.stalled(self._heard(job, waiting).values())):
                position = worker.position
                if not worker.kill():  # it went on after all, at the last moment
                    position = None
                stalled = Ended(position, f"no progress in {watch.allowed(position):g} s")
                self._again(worker, stalled, job, waiting, progress, describe)

    def _heard(self, job: str, waiting: deque[Attempt]) -> dict[Any, Worker]:
        """Those who have something to say, by connection; who could do a task is given one.

        A task goes to a worker that has started: where there are few and small ones, those that
        have done the first are faster through with all than others are through with starting.
        """
        for worker in self._workers:
            if waiting and worker.ready and worker.attempt is None:
                worker.ask(job, waiting.popleft())
        return {
            worker.connection: worker
            for worker in self._workers
            if worker.attempt is not None or (waiting and not worker.ready)
        }

    def _again(
        self,
        worker: Worker,
        end: Ended,
        job: str,
        waiting: deque[Attempt],
        progress: Callable[[int], None],
        describe: Describe,
    ) -> None:
        """Have a new worker go on with the task of one that ended, or that it would have got."""
        if worker.attempt is None and not waiting:  # all was done before it had started
            worker.end()
            self._workers.remove(worker)
            return
        attempt = worker.attempt or waiting.popleft()
        attempt.died(end.position, end.how)
        where = describe(attempt.task, end.position)
        if attempt.hopeless:
            raise RunError(
                f"{where}: {end.how}, and that after {STRAYS} workers before it had ended during "
                "the same task. If memory is short, try fewer --workers; if it is always this "
                "sample, leave it out (--exclude). What is finished is kept"
            )
        if worker.told:
            progress(-worker.told)
        left_out = ", it is left out" if end.position in attempt.poisoned else ""
        self.say(f"{where}: {end.how}{left_out}; a new worker goes on")
        self._workers[self._workers.index(worker)] = fresh = Worker(self._setup)
        fresh.ask(job, attempt)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.end()
        self._workers.clear()
