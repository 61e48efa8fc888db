"""fastbucket buckets."""

from __future__ import annotations

import json

import click

from ..buckets import FAMILIES, buckets
from ..recipe import Recipe


@click.command("buckets")
@click.option("--family", type=click.Choice(list(FAMILIES)), default="sdxl", show_default=True)
@click.option(
    "--base-resolution",
    type=click.IntRange(32, 8192),
    default=Recipe.base_resolution,
    show_default=True,
    help="In pixels.",
)
@click.option(
    "--divisible",
    type=click.IntRange(1, 512),
    default=Recipe.divisible,
    show_default=True,
    help="Target sides are multiples of this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(family: str, base_resolution: int, divisible: int, as_json: bool) -> None:
    """Show the buckets of a family at a base resolution.

    \b
    Example:
      fastbucket buckets --base-resolution 768
    """
    found = buckets(family, base_resolution, divisible)
    if as_json:
        rows = [
            {"bucket_id": b.id, "target_w": b.target.width, "target_h": b.target.height}
            for b in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    from .tables import table

    table(
        f"{len(found)} buckets of {family} at {base_resolution}, sides multiples of {divisible}",
        ("bucket", "width", "height", "width/height", "megapixels"),
        [
            (
                b.id,
                b.target.width,
                b.target.height,
                f"{b.target.width / b.target.height:.3f}",
                f"{b.target.width * b.target.height / 1e6:.3f}",
            )
            for b in found
        ],
        4,
    )
