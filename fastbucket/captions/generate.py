"""Captions from a model behind a chat endpoint: asked for, paced, noted as they come.

samples that are missing ─▶ image from its shard ─▶ request ─▶ answer ─▶ captions.sqlite
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from ..errors import RunError
from ..progress import Progress, Silent
from ..stored import Images
from .asking import Asking
from .client import Client, Endpoint
from .course import Course, Generated
from .question import Question
from .store import Store
from .variant import variant_of
from .wanted import Wanted, others


def generate(
    out: Path | str,
    question: Question,
    endpoint: Endpoint | None = None,
    course: Course | None = None,
    progress: Progress | None = None,
) -> Generated:
    """Ask about every sample of the export in `out` that has no answer yet, and note the answers.

    Can be ended and called again at any time: what is noted is not asked again, but for errors.
    Raises RunError where the endpoint, the store or a shard lets no sample through, or where not
    one was answered, and KeyboardInterrupt after Ctrl-C; what was answered until then is noted.
    """
    endpoint, course, progress = endpoint or Endpoint(), course or Course(), progress or Silent()
    start, out = time.monotonic(), Path(out)
    variant = course.variant or variant_of(question.model)
    with Store.open(out) as store:
        source_id = _source(store, variant, question)
        without = others(store, source_id, course.priority) if course.only_missing else ()
        wanted = Wanted(store, source_id, course.retry, without)
        total = wanted.count()
        todo = total if course.limit is None else min(course.limit, total)
        report = Generated(variant, question.model, left=total)
        if not todo:
            return report
        progress.phase("caption", todo, "images")
        with closing(Images(out)) as images:
            asking = Asking(
                islice(wanted, todo),
                images,
                lambda rows: store.put(source_id, rows),
                question,
                course,
                report,
                progress,
            )
            try:
                asyncio.run(_run(asking, endpoint, min(todo, course.concurrency)))
            except RunError:
                report.ended = "error"
                raise
            finally:
                if asking.ended_by:
                    report.ended = "interrupted"
                report.left = total - report.asked + report.error
                report.seconds = time.monotonic() - start
                if report.ended in ("error", "interrupted"):
                    progress.say(f"noted: {report}")
    if asking.ended_by:
        signal.raise_signal(asking.ended_by)  # to whoever was to have it
        raise KeyboardInterrupt
    if report.error and report.error == report.asked:
        raise RunError(f"not one of {report.asked} samples has got an answer: {report.last_error}")
    if report.ended == "done" and todo < total:
        report.ended = "limit"
    return report


async def _run(asking: Asking, endpoint: Endpoint, workers: int) -> None:
    async with Client(endpoint, workers) as client:
        await asking.run(client, workers)


def _source(store: Store, variant: str, question: Question) -> int:
    """The id of the source.

    One variant holds one model's answers to one prompt, or the manifest's prompt_sha256 would be
    untrue of some; until there is an answer, both are free to change. A model that another endpoint
    offers under another vendor's name is the same one.
    """
    model, answered = question.model, False
    for known in store.sources():
        if known.variant == variant:
            sql = "SELECT 1 FROM captions WHERE source_id = ? AND status <> 'error' LIMIT 1"
            answered = bool(store.query(sql, (known.id,)))
            if known.model and variant_of(known.model) == variant_of(model):
                model = known.model
    try:
        return store.source(variant, model, question.prompt, replace=not answered)
    except RunError as error:
        raise RunError(str(error).replace(", or --replace", "")) from None
