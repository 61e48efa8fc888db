"""One run of questions: workers, their attempts, the notes of what they heard, and the end.

A worker takes the next sample and sees it through its attempts; there is one for each request that
may be under way, and a worker holds one image. What was answered is noted twice a second, so that
an end of any kind loses what is under way and little more.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ..errors import RunError
from ..progress import Progress
from ..stored import Images
from .answer import Answer
from .client import Again, Client
from .course import Course, Generated
from .pace import Pace
from .question import Question
from .store import Row, Sample

_NOTE_SECONDS = 0.5
"""Between two transactions: what a SIGKILL can lose of the answers that were there."""

_NOTE_ROWS = 256
"""Answers that are noted at once, however soon."""

_GRACE_SECONDS = 10.0
"""How long the first Ctrl-C lets requests under way, which are paid for, come to their end."""

_HOPELESS = 10
"""Samples that end a run: the first, when none of them gets an answer, or as many in a row that use
up their attempts. It is not the images then. Images that are refused one by one (400) after others
were not may be many: a model can dislike a whole bucket."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SAY_SECONDS = 10.0
"""Between two lines about requests that have to be sent again."""


class Asking:
    """Asks about samples until there are none, or something ends it. `run` may be awaited once.

    samples: in the order of the shards; iterated in the event loop's thread. note: called with the
    answers that are due. report: counted up while it runs.
    """

    def __init__(
        self,
        samples: Iterator[Sample],
        images: Images,
        note: Callable[[Sequence[Row]], object],
        question: Question,
        course: Course,
        report: Generated,
        progress: Progress,
    ) -> None:
        self._samples, self._images, self._note = samples, images, note
        self._question, self._course = question, course
        self._report, self._progress = report, progress
        self._pace = Pace(course.concurrency, course.backoff)
        self._reading = asyncio.Lock()
        self._rows: list[Row] = []  # answers that are not noted yet
        self._workers: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[None] | None] = set()  # workers with a request under way
        self._stopping = False
        self._spent = 0  # samples in a row that used up their attempts
        self._said = float("-inf")
        self.ended_by = 0

    async def run(self, client: Client, workers: int) -> None:
        """Raises RunError where no sample can be asked about. `ended_by` is set by a signal."""
        with self._signals():
            notes = asyncio.create_task(self._keep_notes())
            self._workers = [asyncio.create_task(self._work(client)) for _ in range(workers)]
            for worker in self._workers:
                worker.add_done_callback(
                    lambda _: all(w.done() for w in self._workers) and notes.cancel()
                )
            tasks = {*self._workers, notes}
            try:
                # A cancelled task is none that failed: after `_stop` the others go on.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                self._abort()
                notes.cancel()
                await asyncio.wait(tasks)
                self._write()
            errors = [task.exception() for task in tasks if not task.cancelled()]
            if error := next(filter(None, errors), None):
                raise error

    async def _work(self, client: Client) -> None:
        while (taken := await self._next()) is not None:
            sample, body = taken
            answer = await self._ask(client, body)
            if answer is not None:
                self._record(sample, answer)

    async def _next(self) -> tuple[Sample, bytes] | None:
        """The next sample and the request about it; None: there is none, or no more is wanted.

        Read in a thread, so that a slow disk keeps nobody waiting who has an answer to hear.
        """
        async with self._reading:
            if self._stopping or (sample := next(self._samples, None)) is None:
                return None
            return sample, await asyncio.to_thread(self._body, sample)

    def _body(self, sample: Sample) -> bytes:
        return self._question.body(self._images.read(sample))

    async def _ask(self, client: Client, body: bytes) -> Answer | None:
        """The answer, an error after so many attempts; None where the run ends before."""
        failures, worker = 0, asyncio.current_task()
        while True:
            sent = await self._pace.enter()
            try:
                if self._stopping or not self._afford():
                    return None
                self._report.requests += 1
                self._sending.add(worker)
                answer = await client.ask(body)
            except Again as again:
                reason, throttled = str(again), again.throttled
                if throttled:
                    self._pace.throttled(sent, again.after)
                elif again.after is not None:
                    self._pace.hold(again.after)
            else:
                self._pace.answered()
                self._spent = 0
                return answer
            finally:
                self._sending.discard(worker)
                self._pace.leave()
            if self._stopping:
                return None
            self._say_again(reason)
            if not throttled:
                failures += 1
                if failures == self._course.max_attempts:
                    self._spent += 1
                    return Answer("error", "", f"{reason} (attempt {failures} of {failures})")
                await asyncio.sleep(self._course.backoff.delay(failures))

    def _afford(self) -> bool:
        """Whether --max-requests allows one more; where not, the run ends."""
        most = self._course.max_requests
        if most is None or self._report.requests < most:
            return True
        self._report.ended = "budget"
        self._stop()
        return False

    def _record(self, sample: Sample, answer: Answer) -> None:
        self._report.count(answer)
        self._rows.append(Row(sample.key, answer.text, answer.status, answer.detail))
        self._progress.advance(1)
        if len(self._rows) >= _NOTE_ROWS:
            self._write()
        none = self._report.asked == self._report.error
        if self._spent >= _HOPELESS or (none and self._report.asked >= _HOPELESS):
            raise RunError(
                f"{_HOPELESS} samples in a row have got no answer; the last: {answer.detail}. "
                "Once that is mended, the same command goes on from here"
            )

    def _write(self) -> None:
        if self._rows:
            self._note(self._rows)
            self._rows.clear()

    async def _keep_notes(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            self._write()

    def _say_again(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            self._progress.say(f"asking again: {reason}")

    def _stop(self) -> None:
        """No request more; those under way come to their end."""
        self._stopping = True
        for worker in self._workers:
            if worker not in self._sending and worker is not asyncio.current_task():
                worker.cancel()

    def _abort(self) -> None:
        """An end to everything."""
        self._stopping = True
        for worker in self._workers:
            worker.cancel()

    def _signal(self, number: int) -> None:
        first = not self.ended_by
        self.ended_by = self.ended_by or number
        if number != signal.SIGINT or not first or not self._sending:
            self._abort()
            return
        self._progress.say(
            f"interrupted: {len(self._sending)} requests are under way and have "
            f"{_GRACE_SECONDS:.0f} s; Ctrl-C again ends at once"
        )
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._abort)
        self._stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals go to `_signal`, where somebody had them call Python: not those that nohup has
        ignored, and none in a thread beside the main one. An exception out of a handler would be
        lost where the loop runs a callback."""
        loop, before = asyncio.get_running_loop(), {}
        for number in _SIGNALS:
            if callable(handler := signal.getsignal(number)):
                with suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.add_signal_handler(number, self._signal, number)
                    before[number] = handler
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
