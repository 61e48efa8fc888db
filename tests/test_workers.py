"""Workers that die or stand still: what the engine makes of it, with a job made for the purpose."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastbucket import Resources, RunError
from fastbucket.engines import process, watch
from fastbucket.engines.attempt import STRAYS, Attempt
from fastbucket.engines.local import Local
from fastbucket.engines.watch import Watch
from fastbucket.progress import unwatched

pytestmark = pytest.mark.processes

JOB = "faultyjobs:Words"


class Engine:
    """One worker unless said otherwise; what it says and counts is kept."""

    def __init__(self, folder: Path, workers: int = 1, timeout: float = 0.0) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.said: list[str] = []
        self.counted: list[int] = []
        self.local = Local(workers, {"log": str(self.log)}, timeout, self.said.append)

    def run(self, *tasks: list[str]) -> list[list[str]]:
        """The results of tasks 0, 1, ... in their order."""
        named = [(str(number), task) for number, task in enumerate(tasks)]
        with self.local as engine:
            found = {
                task[0]: result
                for task, result in engine.map(JOB, named, self.counted.append, describe)
            }
        return [found[name] for name, _ in named]

    def calls(self) -> list[tuple[str, str]]:
        """(place, process) of all that was begun, in order."""
        lines = [line.rpartition(" ") for line in self.log.read_text().splitlines()]
        return [(place, pid) for place, _, pid in lines]


def describe(task, position) -> str:
    return f"<{task[0]}>" if position is None else f"<{task[0]}, {position}>"


@pytest.fixture
def engine(tmp_path) -> Engine:
    return Engine(tmp_path)


def test_a_position_that_kills_is_left_out_after_two_trials_of_it_alone(engine):
    text = "ended its worker process with signal 11 (SIGSEGV)"
    assert engine.run(["a", "b", "signal11", "c", ""]) == [["a", "b", text, "c"]]
    places = [place for place, _ in engine.calls()]
    assert places == ["0 0", "0 1", "0 2", "0 2", "0 2", "0 0", "0 1", "0 3", "0 end"]
    pids = [pid for place, pid in engine.calls() if place == "0 2"]
    assert len(set(pids)) == 3
    assert [line.count("left out") for line in engine.said] == [0, 0, 1]
    assert all(line.startswith(f"<0, 2>: {text}") for line in engine.said)
    assert sum(engine.counted) == 4  # what was lost with a worker is taken back


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("exit3", "ended its worker process with exit code 3"),
        ("signal35", "ended its worker process with signal 35"),  # one without a name
        ("memory", "ended its worker process: out of memory"),
    ],
)
def test_how_it_ended(engine, word, text):
    (found,) = engine.run([word, "b", ""])
    assert found == [text, "b"]


def test_a_chance_death_changes_nothing(engine):
    assert engine.run(["a", "fsignal9", "c", ""]) == [["a", "fsignal9", "c"]]
    places = [place for place, _ in engine.calls()]
    # Killed, tried alone, done again by the process of the trial.
    assert places == ["0 0", "0 1", "0 1", "0 0", "0 1", "0 2", "0 end"]
    assert len({pid for _, pid in engine.calls()}) == 2
    assert sum(engine.counted) == 3


def test_several_killers_in_several_tasks(tmp_path):
    engine = Engine(tmp_path, workers=2)
    tasks = [["signal11", "a", "signal6", "signal9", ""], ["b", ""], ["c", "signal11", ""]]
    first, second, third = engine.run(*tasks)
    assert [word[-9:] for word in first] == ["(SIGSEGV)", "a", "(SIGABRT)", "(SIGKILL)"]
    assert (second, third[0]) == (["b"], "c")
    assert third[1].endswith("(SIGSEGV)")


def test_a_task_that_dies_at_no_position_stops_the_run(engine):
    with pytest.raises(RunError) as stopped:
        engine.run(["a", "signal9"])
    for word in ("<0>: ended its worker process with signal 9 (SIGKILL)", "fewer --workers"):
        assert word in str(stopped.value)
    assert [place for place, _ in engine.calls()].count("0 end") == STRAYS + 1


def test_a_death_or_two_at_no_position_do_not(engine):
    assert engine.run(["a", "fexit1"], ["b", "fsignal9"]) == [["a"], ["b"]]


def test_a_death_that_another_position_prepared_is_nobodys_fault(engine):
    """Alone the second does no harm: dropping it would leave the culprit in, and depend on where
    shards begin. The message names it, and what can be done."""
    with pytest.raises(RunError, match=r"^<0, 1>: .*SIGSEGV.*--exclude"):
        engine.run(["before", "after", ""])
    alone = [place for place, _ in engine.calls()].count("0 1")
    assert alone == 2 * STRAYS + 1


def test_errors_that_a_job_raises_go_on_being_errors(engine):
    with pytest.raises(RunError, match=r"^it cannot go on$"):
        engine.run(["refuse", ""])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        engine.run(["bug", ""])
    assert not engine.said


def test_who_is_cut_off_does_no_more_tasks(tmp_path):
    engine = Engine(tmp_path)
    fence = tmp_path / "fence"
    fence.write_text("0123")
    setup = {"log": str(engine.log), "fence": (str(fence), "0123")}
    with Local(1, setup) as local:
        assert list(local.map(JOB, [("0", ["a", ""])])) == [(("0", ["a", ""]), ["a"])]
        fence.unlink()
        with pytest.raises(RunError, match="not wanted any more"):
            list(local.map(JOB, [("1", ["b", ""])]))
    assert {place for place, _ in engine.calls()} == {"0 0", "0 end"}


def test_who_stands_still_at_a_position_is_replaced(tmp_path):
    engine = Engine(tmp_path, timeout=0.4)
    start = time.monotonic()
    assert engine.run(["a", "sleep99", "b", ""]) == [["a", "no progress in 0.4 s", "b"]]
    assert time.monotonic() - start < 20
    assert len(engine.said) == 3


def test_who_is_slow_at_no_position_is_not(tmp_path):
    engine = Engine(tmp_path, timeout=0.2)
    assert engine.run(["a", "sleep1"]) == [["a"]]
    with engine.local as local:
        assert list(local.map("faultyjobs:Plain", [800])) == [(800, 800)]
    assert not engine.said


def test_who_hangs_at_no_position_is_replaced_in_the_end(tmp_path):
    engine = Engine(tmp_path, timeout=0.1)
    assert engine.run(["a", "fsleep99"]) == [["a"]]
    assert f"<0>: no progress in {0.1 * watch.PATIENCE:g} s; a new worker goes on" in engine.said


def test_many_positions_may_take_longer_than_one(tmp_path):
    engine = Engine(tmp_path, timeout=0.5)
    assert engine.run(["sleep0.1"] * 10 + [""]) == [["sleep0.1"] * 10]
    assert not engine.said


def test_a_worker_that_died_between_two_maps(engine):
    with engine.local as local:
        assert list(local.map("faultyjobs:Plain", [1])) == [(1, 1)]
        worker = local._workers[0].process
        worker.kill()
        worker.wait()
        assert list(local.map("faultyjobs:Plain", [2])) == [(2, 2)]
    assert "SIGKILL" in engine.said[0]


def test_nothing_is_left_running(tmp_path):
    engine = Engine(tmp_path, workers=2, timeout=0.3)
    with pytest.raises(RunError):
        engine.run(["sleep99", "exit1"], ["sleep99", ""])
    assert not engine.local._workers
    pids = {pid for _, pid in engine.calls()}
    assert len(pids) >= 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_workers_that_do_not_come_to_life(engine, monkeypatch):
    monkeypatch.setattr(process, "_PROGRAM", "import sys; sys.exit(7)")
    with pytest.raises(RunError, match=r"as it started with exit code 7.*fewer --workers"):
        engine.run(["a", ""])
    assert len(engine.said) == STRAYS
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RunError, match=r"no worker process can be started: No such file"):
        engine.run(["a", ""])


def test_a_worker_too_many_may_fail_to_start(engine, monkeypatch):
    """All is done before anybody misses it."""
    with engine.local as local:
        local._count = 3
        local.start(1)
        monkeypatch.setattr(process, "_PROGRAM", "import sys, time; time.sleep(0.3); sys.exit(7)")
        local.start(3)
        tasks = [("0", ["a"]), ("1", ["b"])]
        found = dict(enumerate(result for _, result in local.map(JOB, tasks)))
        assert len(found) == 2


def test_a_process_that_hangs_in_the_kernel_is_not_waited_for_for_ever(engine, monkeypatch):
    """SIGKILL waits for the end of a read from a dead drive; nobody else may write meanwhile."""
    worker = process.Worker({})

    def hangs(seconds):
        raise subprocess.TimeoutExpired("worker", seconds)

    with monkeypatch.context() as patched:
        patched.setattr(worker.process, "wait", hangs)
        with pytest.raises(RunError, match=f"process {worker.process.pid} cannot be ended"):
            worker.kill()
    assert worker.end() in (1, -signal.SIGKILL)


# The parts


def test_attempts():
    """The table of `attempt`: a verdict needs two deaths alone, and does not count as bad luck."""
    attempt = Attempt("task")
    for position in range(3 * STRAYS):
        attempt.died(position, "in the task")
        assert attempt.suspect == position
        attempt.died(None, "at no position of the trial")
        assert attempt.suspect == position
        attempt.died(position, "alone")
        assert position not in attempt.poisoned
        attempt.died(position, "alone again")
        assert attempt.poisoned[position] == "alone again"
        assert attempt.suspect is None
        assert not attempt.hopeless
    for _ in range(STRAYS):
        assert not attempt.hopeless
        attempt.died(99, "once more")
        attempt.survived()
    assert not attempt.hopeless
    attempt.died(None, "at no position")
    assert attempt.hopeless
    assert 99 not in attempt.poisoned


class Still:
    """A worker as the watch sees it."""

    def __init__(self, position: int | None) -> None:
        self.position, self.step, self.seen, self.still = position, 1, -1, 0.0


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    return now


def test_time_stands_still_for_those_that_do_not_move(clock):
    """Looked at every second: one at a position, one at none, one that goes on."""
    looked, stuck, nowhere, moving = Watch(60), Still(3), Still(None), Still(3)
    found = {}
    for second in range(1300):
        clock[0] += 1.0
        moving.step += second % 2
        for worker in looked.stalled([stuck, nowhere, moving]):
            found.setdefault(worker, second)
    # Seen first after one second, then for more than a minute, and for more than twenty.
    assert found == {stuck: 61, nowhere: 1201}


def test_the_time_that_the_parent_was_away_is_not_the_workers(clock):
    looked, worker = Watch(60), Still(3)
    for _ in range(20):
        clock[0] += 3600  # stopped, asleep, or busy: one look is worth two seconds at most
        assert not list(looked.stalled([worker]))
    assert worker.still <= 2 * 20


def test_looks_are_rare_and_none_without_a_limit(clock):
    looked = Watch(60)
    assert looked.pause() == 1.0
    clock[0] += 0.25
    assert looked.pause() == 0.75
    assert Watch(1).pause() == 0.25
    nobody = Watch(0)
    assert nobody.pause() is None
    clock[0] += 1e6
    assert not list(nobody.stalled([Still(3)]))


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_limit_that_is_none(seconds):
    with pytest.raises(RunError, match="sample_timeout"):
        Resources(sample_timeout=seconds)


def test_nobody_has_to_watch():
    unwatched(3)
    unwatched(None)


def test_signals_are_those_of_this_system():
    """What the texts above rely on."""
    assert (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT) == (9, 11, 6)
