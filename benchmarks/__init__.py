"""Benchmarks: programs that print figures as JSON lines, and a report that is drawn from them.

    python -m benchmarks                     everything, then docs/performance.md
    python -m benchmarks.runs.transcode      one program alone; so with every file of
                                             runs/ and stages/

    contenders/   one job, bytes in memory to JPEG bytes in memory: one file each
    exports/      the whole job, source tars to output tars: one file each
    runs/         what is compared or promised: transcode, export, workers, memory, plan, startup
    stages/       where our own time goes
    targets.py    what the design demands
    report.py     JSON lines -> Markdown; no figure on the page is typed by hand

Modules that contenders share import the standard library alone: Pillow-SIMD has an environment of
its own, in which there is no fastbucket.
"""
