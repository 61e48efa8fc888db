"""The engine on a Ray of two nodes: the bytes and the verdicts of worker processes on one machine,
whatever becomes of a node."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import crashes
import gaps
import pytest

import fastbucket
from fastbucket import Recipe, Resources, RunError, engines

RECIPE = Recipe.from_json(gaps.RECIPE)
JOB = "faultyjobs:Words"


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "fastbucket.engines.ray", raising=False)
    with pytest.raises(RunError, match=r"needs Ray .*pip install 'fastbucket\[cluster\]'"):
        fastbucket.export(
            gaps.tars(lambda: tmp_path, 1), tmp_path / "out", RECIPE, Resources(engine="ray")
        )


def test_an_address_is_for_ray():
    with pytest.raises(RunError, match="address: head:6379 is of no use to the engine local"):
        Resources(address="head:6379")


@pytest.fixture(scope="module")
def cluster():
    """A head with one CPU, and this process connected to it; tests add and kill a second node."""
    pytest.importorskip("ray", reason="ray is absent: pip install 'fastbucket[cluster]'")
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        patched.setenv("RAY_worker_niceness", "0")  # else they starve beside other tests
        started = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000,
            },
        )  # fmt: skip
        try:
            ray.init(address=started.address, log_to_driver=False)
            yield started
        finally:
            ray.shutdown()
            started.shutdown()


@pytest.fixture
def second(cluster):
    """The second node, alive."""
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node, allow_graceful=False)


pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


class Words:
    """The engine under test with faultyjobs.Words; what it says and counts is kept."""

    def __init__(self, cluster, folder: Path, **setup) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.said: list[str] = []
        self.counted: list[int] = []
        facts = {"log": str(self.log), **setup}
        self.engine = engines.engine(
            "ray", 0, facts, 20.0, self.said.append, address=cluster.address
        )

    def run(self, *tasks: list[str]) -> list[list[str]]:
        """The results of tasks 0, 1, ... in their order."""
        named = [(str(number), task) for number, task in enumerate(tasks)]

        def describe(task, position) -> str:
            return f"<{task[0]}, {position}>"

        with self.engine as engine:
            found = {
                task[0]: result
                for task, result in engine.map(JOB, named, self.counted.append, describe)
            }
        return [found[name] for name, _ in named]

    def begun(self, place: str) -> int:
        return [line.rpartition(" ")[0] for line in self.log.read_text().splitlines()].count(place)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_who_is_to_blame_is_found_out_as_on_one_machine(cluster, tmp_path):
    words = Words(cluster, tmp_path)
    text = "ended its worker process with signal 11 (SIGSEGV)"
    found = words.run(["a", "signal11", "b", ""], ["c", "fsignal9", ""])
    assert found == [["a", text, "b"], ["c", "fsignal9"]]
    assert sum(words.counted) == 5
    assert [line for line in words.said if "left out" in line] == [
        f"<0, 1>: {text}, it is left out; a new worker goes on"
    ]
    assert any(line.startswith("<1, 1>: ended its worker process") for line in words.said)
    with pytest.raises(RunError, match=r"^it cannot go on$"):
        words.run(["refuse", ""])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        words.run(["bug", ""])


def test_a_node_that_cannot_take_part_says_why(cluster, tmp_path):
    fence = (str(tmp_path / "not shared" / "fence"), "0123")
    with pytest.raises(RunError, match=r"node .* does not see .*not shared.*folder that all nodes"):
        Words(cluster, tmp_path, fence=fence).run([""])
    with pytest.raises(RunError, match=r"node .* has numba .*, the driver 0\.1, which may write"):
        Words(cluster, tmp_path, software={"numba": "0.1"}).run([""])


def test_tasks_of_a_lost_node_are_done_elsewhere(cluster, second, tmp_path):
    words = Words(cluster, tmp_path)
    killed = []
    with words.engine as engine:
        tasks = [(str(n), ["a", "sleep2", "b", ""]) for n in range(2)]
        ended = engine._ended

        def look():
            if not killed and words.begun("0 1") and words.begun("1 1"):  # one on each node
                killed.append(True)
                cluster.remove_node(second, allow_graceful=False)
            return ended()

        engine._ended = look
        found = {task[0]: result for task, result in engine.map(JOB, tasks)}
    assert killed
    assert found == {"0": ["a", "sleep2", "b"], "1": ["a", "sleep2", "b"]}
    assert sorted([words.begun("0 1"), words.begun("1 1")]) == [1, 2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> list[str]:
    return gaps.tars(lambda: tmp_path_factory.mktemp("source"), parts=4)


class Watched:
    """A progress that calls `look` at every advance of the export."""

    def __init__(self, look) -> None:
        self._look = look
        self._phase = ""

    def phase(self, name: str, total: int, unit: str) -> None:
        self._phase = name

    def advance(self, n: int) -> None:
        if self._phase == "export":
            self._look()

    def say(self, text: str) -> None: ...


def test_interrupted_and_gone_on_with_while_a_node_is_lost(
    cluster, second, source, tmp_path, monkeypatch
):
    """Ctrl-C behind the first shard; the same again, and a node is killed: the bytes of one run in
    one process."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setitem(engines.ENGINES, "local", "crashes:InProcess")
        fastbucket.export(source, whole, RECIPE, Resources(workers=2))
    cluster_of = Resources(engine="ray", address=cluster.address, workers=2)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastbucket.export(source, out, RECIPE, cluster_of, progress=Watched(interrupt))
    assert not list(out.rglob("*.tmp"))
    assert not (out / ".fastbucket" / "fence").exists()
    assert len(list(out.glob(".fastbucket/shards/*.json"))) >= 1
    killed = []

    def kill() -> None:
        if not killed:
            killed.append(cluster.remove_node(second, allow_graceful=False))

    report = fastbucket.export(source, out, RECIPE, cluster_of, progress=Watched(kill))
    assert killed
    assert report.resumed_shards >= 1
    assert crashes.tree(out) == crashes.tree(whole)


def test_what_is_cancelled_ends_with_its_processes(cluster, tmp_path):
    """The engine connects by itself, and leaves nothing behind."""
    import ray

    ray.shutdown()
    words = Words(cluster, tmp_path)

    def interrupted() -> None:
        with words.engine as engine:
            ended = engine._ended

            def look():
                if words.begun("0 0"):
                    raise KeyboardInterrupt
                return ended()

            engine._ended = look
            list(engine.map(JOB, [("0", ["sleep99", ""]), ("1", ["sleep99", ""])]))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not ray.is_initialized()
    pids = {line.rpartition(" ")[2] for line in words.log.read_text().splitlines()}
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(pids) == 1
