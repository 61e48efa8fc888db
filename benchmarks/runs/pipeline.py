"""What replacing the transcoding step alone wins, in a webdataset + Pillow script of fifteen lines.

Both scripts stand below as somebody would write them: read tars, put every photo into its bucket,
write tars. They differ in the lines that `webdataset_stage` replaces; reading, Python and TarWriter
stay. Ours makes the text and the JSON of the format besides, and converts colour profiles. CPU time
of a process, imports and compiled kernels loaded before; one core.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from .. import corpora, process
from ..figures import Bench, versions
from ..options import parse

COPIES, QUICK_COPIES = 2, 0
ROUNDS = 5
SOURCES = {"all images fit": 0.0, "9 % of the images fit": 0.91}
"""Share of images that are too small."""

OURS, PILLOW, FLOOR = "webdataset_stage", "Pillow", "neither: webdataset and TarWriter alone"


def main() -> None:
    options = parse(__doc__)
    bench = Bench("pipeline", options.quick, versions(["fastbucket", "webdataset", "pillow"]))
    copies = QUICK_COPIES if options.quick else COPIES
    scripts = {OURS: stage, PILLOW: pillow, FLOOR: neither}
    for title, small in SOURCES.items():
        tars = corpora.source(options, corpora.imagenet(options), copies, small)
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(min(options.rounds, ROUNDS)):
            for name, function in scripts.items():
                corpora.warm(tars)
                out = corpora.scratch(options, "pipeline") / "out.tar"
                arguments = {"tars": [str(tar) for tar in tars], "out": str(out)}
                found.setdefault(name, []).append(process.call(function, **arguments))
        kept = {name: rounds[0]["kept"] for name, rounds in found.items() if name != FLOOR}
        if len(set(kept.values())) != 1:
            raise SystemExit(f"not the same job: {kept}")
        for name, rounds in found.items():
            samples = rounds[0]["samples"]
            values = [1e3 * r["cpu"] / samples for r in rounds]
            bench.show(f"{name}, {title}", "ms", values, "ms/sample")
        bench.show(title, "kept", kept[OURS], "samples")
        bench.show(title, "samples", found[OURS][0]["samples"], "samples")


def stage(tars: list[str], out: str) -> dict[str, float]:
    """The script with the stage."""
    import webdataset as wds

    import fastbucket

    def script(tars: list[str], out: str) -> int:
        dataset = wds.WebDataset(tars, shardshuffle=False)
        dataset = dataset.compose(fastbucket.webdataset_stage(fastbucket.Recipe()))
        kept = 0
        with wds.TarWriter(out) as sink:
            for sample in dataset:
                sink.write(sample)
                kept += 1
        return kept

    return _timed(script, tars, out)


def pillow(tars: list[str], out: str) -> dict[str, float]:
    """The script as it was. Nothing is decoded that does not fit."""
    import webdataset as wds
    from PIL import Image, ImageOps

    from fastbucket.buckets import buckets

    sizes = [bucket.target for bucket in buckets("sdxl", 512, 32)]

    def misfit(w: int, h: int, width: int, height: int) -> tuple[bool, float]:
        """The rule `short_long`, so that both scripts keep the same images."""
        turned = width > height if w < h else width < height
        ratios = min(w, h) / max(w, h) - min(width, height) / max(width, height)
        return turned, round(abs(ratios), 12)

    def script(tars: list[str], out: str) -> int:
        kept = 0
        with wds.TarWriter(out) as sink:
            for sample in wds.WebDataset(tars, shardshuffle=False):
                image = ImageOps.exif_transpose(Image.open(io.BytesIO(sample["jpg"])))
                w, h = image.size
                best = min(sizes, key=lambda size: misfit(w, h, *size))
                scale = max(best[0] / w, best[1] / h)
                if scale > 1:
                    continue
                image = ImageOps.fit(image.convert("RGB"), best, Image.Resampling.BICUBIC)
                jpeg = io.BytesIO()
                image.save(jpeg, "JPEG", quality=95, subsampling=0 if scale < 0.85 else 2)
                sink.write({"__key__": sample["__key__"], "jpg": jpeg.getvalue()})
                kept += 1
        return kept

    return _timed(script, tars, out)


def neither(tars: list[str], out: str) -> dict[str, float]:
    """Samples in, samples out, none changed: what no transcoder can save."""
    import webdataset as wds

    def script(tars: list[str], out: str) -> int:
        kept = 0
        with wds.TarWriter(out) as sink:
            for sample in wds.WebDataset(tars, shardshuffle=False):
                sink.write(sample)
                kept += 1
        return kept

    return _timed(script, tars, out)


def _timed(script: Any, tars: list[str], out: str) -> dict[str, float]:
    """kept, samples, and CPU seconds of the second run, after one over the first tar."""
    import webdataset as wds

    script(tars[:1], out)
    start = time.process_time()
    kept = script(tars, out)
    cpu = time.process_time() - start
    Path(out).unlink()
    samples = sum(1 for _ in wds.WebDataset(tars, shardshuffle=False))
    return {"kept": kept, "samples": samples, "cpu": cpu}


if __name__ == "__main__":
    main()
