"""Kill exports at random moments, run the same command again until it ends, compare every byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from fastbucket import Recipe
from fastbucket.draw import draw
from fastbucket.drawn_source import photo_jpeg
from fastbucket.timm_tars import TimmSample, TimmTars

RECIPES = (
    Recipe(base_resolution=128, shard_size=4),
    Recipe(base_resolution=128, shard_size=3, quality=80, fidelity="exact"),
    Recipe(base_resolution=96, shard_size=5, choice="min_crop", subsampling_policy="444"),
)
"""Small targets and small shards: many shards, gaps in most buckets, and all in a second or two."""

SAMPLES = 160
SIZES = ((160, 160), (176, 144), (144, 184), (200, 150), (150, 210), (240, 130), (128, 260))
DAMAGED = 9  # one sample in so many is cut in the middle, so that gaps have to be filled

KINDS = {
    "kill parent": 6,
    "kill worker": 8,
    "kill all": 3,
    "terminate": 1,
    "interrupt": 1,
    "hang up": 1,
    "stop and go on": 2,
}
"""What is done to a run -> how often, in proportion."""

KILLS = ("kill parent", "kill worker", "kill all")

ENDINGS = {
    "terminate": signal.SIGTERM,
    "interrupt": signal.SIGINT,
    "hang up": signal.SIGHUP,
}
"""Signals that ask for an end."""

CODES = {kind: (128 + number, -number) for kind, number in ENDINGS.items()}
"""The exit code that answers, or the signal where Python had not come so far as to catch it."""

FEWEST, MOST = 4, 16
"""Disturbances of one export; then it is left alone, and must end."""

EARLY, SOON = 0.6, 0.15
"""Of the time of an undisturbed run, the share within which the first disturbance of a run comes,
and the next of one that goes on. What is behind is for those that wait: see LATE."""

LATE = 0.15
"""Share of disturbances that wait for the phase behind the last shard: it is short, and would be
met by few."""

VERIFIED = 4
"""One export in so many is verified as well: its bytes have been compared already."""

PATIENCE = 120.0
"""Seconds that an export may take from start to end, by far; else it hangs."""


class Mismatch(Exception):
    """The export is not what an undisturbed one is."""


@dataclass
class Soak:
    """What is being tried, and what it came through."""

    sources: list[str]
    workers: int
    folder: Path
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    exports: int = 0
    starts: int = 0

    @property
    def kills(self) -> int:
        return sum(self.done[kind] for kind in KILLS)

    def command(self, out: Path, recipe: Recipe) -> list[str]:
        """The command line; the recipe comes from a file as of an earlier manifest."""
        file = self.folder / f"{recipe.base_resolution}-{recipe.quality}.json"
        file.write_text(json.dumps({"recipe": recipe.to_json()}))
        return [
            sys.executable, "-m", "fastbucket", "export", *self.sources, str(out), "--quiet",
            "--workers", str(self.workers), "--recipe", str(file),
        ]  # fmt: skip

    def start(self, out: Path, recipe: Recipe) -> subprocess.Popen[str]:
        self.starts += 1
        return subprocess.Popen(
            self.command(out, recipe),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            preexec_fn=hear,
        )

    def environment(self) -> dict[str, str]:
        """With our own path, wherever the command runs."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

    def undisturbed(self, out: Path, recipe: Recipe) -> float:
        """Export in peace; returns the seconds that it took."""
        begun = time.monotonic()
        self.end(self.start(out, recipe), (0,), set())
        return time.monotonic() - begun

    def disturbed(self, out: Path, recipe: Recipe, seconds: float) -> None:
        """Export with disturbances, the same command again and again until it is complete."""
        left = self.chance.randint(FEWEST, MOST)
        process, known, soon = self.start(out, recipe), set[int](), EARLY
        while left:
            kind = self.chance.choices(list(KINDS), list(KINDS.values()))[0]
            if not self.moment(process, out, soon * seconds):
                break
            left -= 1
            where, workers = phase(out), children(process.pid)
            known |= set(workers)
            if not self.disturb(process, kind, workers):
                continue
            if kind in ("kill worker", "stop and go on"):
                self.count(kind, where)
                soon = SOON
                continue
            if self.end(process, (*CODES.get(kind, (-signal.SIGKILL,)), 0), known) == 0:
                return  # it was complete just before
            self.count(kind, where)
            process, known, soon = self.start(out, recipe), set(), EARLY
        self.end(process, (0,), known | set(children(process.pid)))

    def count(self, kind: str, where: str) -> None:
        self.done[kind] += 1
        self.phases[where] += 1

    def moment(self, process: subprocess.Popen[str], out: Path, seconds: float) -> bool:
        """Wait for the moment of the next disturbance; False: the export ended before it."""
        late = self.chance.random() < LATE
        pause = self.chance.random() * (0.05 if late else seconds)
        deadline = time.monotonic() + PATIENCE
        while late and process.poll() is None and phase(out) not in ("fill", "finish"):
            if time.monotonic() > deadline:
                raise Mismatch(f"it hangs: {phase(out)}")
            time.sleep(0.0005)
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause)
        return process.poll() is None

    def disturb(self, process: subprocess.Popen[str], kind: str, workers: list[int]) -> bool:
        """Do it; False where there was nobody to do it to."""
        if kind == "kill parent":
            process.kill()
        elif kind == "kill all":
            all_of_them = [process.pid, *workers]
            self.chance.shuffle(all_of_them)
            for number in all_of_them:
                send(number, signal.SIGKILL)
        elif kind in ENDINGS:
            process.send_signal(ENDINGS[kind])
        elif not workers:
            return False
        elif kind == "kill worker":
            return send(self.chance.choice(workers), signal.SIGKILL)
        else:
            number = self.chance.choice([process.pid, *workers])
            if not send(number, signal.SIGSTOP):
                return False
            time.sleep(self.chance.random() * 0.3)
            send(number, signal.SIGCONT)
        return True

    def end(self, process: subprocess.Popen[str], codes: tuple[int, ...], known: set[int]) -> int:
        """Wait for the end of a run and of its workers; the exit code must be one of `codes`."""
        try:
            _, words = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Mismatch("it hangs") from None
        early = process.returncode == 1 and "KeyboardInterrupt" in words  # in Python's own start
        if process.returncode not in codes and not (early and -signal.SIGINT in codes):
            raise Mismatch(f"exit code {process.returncode}, not {codes}: {words}")
        deadline = time.monotonic() + 5
        while alive := [number for number in known if is_worker(number)]:
            if time.monotonic() > deadline:
                raise Mismatch(f"workers {alive} outlived their parent")
            time.sleep(0.01)
        return process.returncode

    def check(self, out: Path, expected: dict[str, str]) -> None:
        """Every file is that of the undisturbed run, none is left over, and verify is content."""
        found = tree(out)
        differ = sorted(p for p in {*found, *expected} if found.get(p) != expected.get(p))
        if differ:
            raise Mismatch(f"{len(differ)} files differ: {', '.join(differ[:8])}")
        if self.exports % VERIFIED:
            return
        done = subprocess.run(
            [sys.executable, "-m", "fastbucket", "verify", str(out), "--quiet"],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment(),
        )
        if done.returncode:
            raise Mismatch(f"verify: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def summary(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.done.items()))
        phases = ", ".join(f"{n} {where}" for where, n in sorted(self.phases.items()))
        return (
            f"{self.kills} kills survived in {self.exports} exports ({self.starts} starts), every "
            f"byte as undisturbed; disturbances: {kinds or 'none'}; during: {phases or 'nothing'}"
        )


def hear() -> None:
    """In the background of a shell, Ctrl-C is not heard, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def phase(out: Path) -> str:
    """How far the export in `out` is, by what is there."""
    if (out / "meta").exists():
        return "finish"
    state = out / ".fastbucket"
    with suppress(FileNotFoundError):  # it goes while we look
        if os.listdir(state / "fill"):
            return "fill"
    if (state / "plan.json").exists():
        return "export"
    return "scan" if (state / "run.json").exists() else "start"


def tree(out: Path) -> dict[str, str]:
    """Every file and folder below `out` -> SHA-256; of the manifest without its time, and of
    run.json, which tells of the run, that it is there."""
    found = {}
    for path in sorted(out.rglob("*")):
        content = path.read_bytes() if path.is_file() else b"a folder"
        if path.name == "manifest.json":
            facts = json.loads(content)
            facts.pop("created_at")
            content = json.dumps(facts).encode()
        if path == out / "run.json":
            content = b"a run"
        found[path.relative_to(out).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def status(number: int) -> list[str]:
    """State and parent of a process and what follows in its stat; empty where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return []


def children(parent: int) -> list[int]:
    """The live workers of a run."""
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [n for n in numbers if status(n)[1:2] == [str(parent)] and is_worker(n)]


def is_worker(number: int) -> bool:
    """Whether it lives and is one of ours: numbers are given again."""
    with suppress(OSError):
        words = Path(f"/proc/{number}/cmdline").read_bytes()
        return status(number)[:1] not in ([], ["Z"]) and b"engines.worker" in words
    return False


def send(number: int, what: signal.Signals) -> bool:
    """Send a signal; False where the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(number, what)
        return True
    return False


def draw_source(folder: Path) -> list[str]:
    """Small drawn photos in tars, one in DAMAGED of them cut in the middle."""
    with TimmTars(folder, "soak", "train", SAMPLES // 4) as tars:
        for number in range(SAMPLES):
            jpeg = photo_jpeg(draw(*SIZES[number % len(SIZES)], number))
            tars.add(
                TimmSample(
                    wnid="n00000001",
                    number=number,
                    suffix="jpg",
                    image=jpeg[: len(jpeg) // 2] if number % DAMAGED == 4 else jpeg,
                    label=number % 7,
                    width=SIZES[number % len(SIZES)][0],
                    height=SIZES[number % len(SIZES)][1],
                    filename=f"{number}.JPEG",
                    caption=f"number {number}" if number % 3 else "",
                )
            )
    return [str(path) for path in tars.paths]


@click.command()
@click.option("--minutes", type=click.FloatRange(0.01), default=10.0, show_default=True)
@click.option("--kills", type=click.IntRange(1), help="Stop as soon as so many are survived.")
@click.option("--seed", type=int, help="What is done when; random by default, and printed.")
@click.option("--source", "sources", multiple=True, help="Export this; drawn photos by default.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Work here; it must not exist.")
def soak(
    minutes: float,
    kills: int | None,
    seed: int | None,
    sources: tuple[str, ...],
    workers: int,
    folder: Path | None,
) -> None:
    """Kill exports at random moments (the parent, a worker, all of them), stop, interrupt and
    terminate them; run the same command again until the export is complete; compare every byte
    with an undisturbed run, verify, and look for processes and files left behind. Again and again.

    Exit code 1 at the first difference; the folder is kept then, and the seed says the rest.

    \b
    Example: ten minutes
        python tools/soak.py --minutes 10
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="fastbucket-soak-"))
    else:
        folder.mkdir(parents=True)
    print(f"seed {seed}, in {folder}", flush=True)
    (folder / "source").mkdir()
    soaked = Soak(
        list(sources) or draw_source(folder / "source"), workers, folder, random.Random(seed)
    )
    deadline, told = time.monotonic() + 60 * minutes, time.monotonic()
    out = folder / "out"
    try:
        expected, seconds = {}, {}
        for recipe in RECIPES:
            whole = folder / f"whole-{recipe.base_resolution}-{recipe.quality}"
            seconds[recipe] = soaked.undisturbed(whole, recipe)
            expected[recipe] = tree(whole)
        while time.monotonic() < deadline and not (kills and soaked.kills >= kills):
            recipe = RECIPES[soaked.exports % len(RECIPES)]
            soaked.disturbed(out, recipe, seconds[recipe])
            soaked.check(out, expected[recipe])
            shutil.rmtree(out)
            soaked.exports += 1
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{soaked.exports} exports, {soaked.kills} kills", flush=True)
    except Mismatch as error:
        print(f"after {soaked.summary()}\nMISMATCH in {out}, seed {seed}: {error}")
        sys.exit(1)
    shutil.rmtree(folder)
    print(soaked.summary())


if __name__ == "__main__":
    soak()
