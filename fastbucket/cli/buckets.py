"""fastbucket buckets."""

from __future__ import annotations

import json
from typing import Any

import click

from ..recipe import Recipe
from .options import options, recipe

_FIELDS = (
    "base_resolution", "divisible", "family", "sizes", "grid_step", "grid_min_side",
    "grid_max_side",
)  # fmt: skip
"""Fields of the recipe that decide which buckets there are."""


@click.command("buckets")
@options(Recipe, _FIELDS)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(as_json: bool, **fields: Any) -> None:
    """Show the buckets of a family at a base resolution.

    \b
    Examples:
      fastbucket buckets --base-resolution 768
      fastbucket buckets --family grid --grid-step 32 --grid-min-side 320 --grid-max-side 832
      fastbucket buckets --family list --sizes 512x512,640x384,384x640
    """
    made = recipe(fields, None)
    found = made.buckets()
    if as_json:
        rows = [
            {"bucket_id": b.id, "target_w": b.target.width, "target_h": b.target.height}
            for b in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    from .tables import table

    table(
        f"{len(found)} buckets of {made.family} at {made.base_resolution}, sides multiples of "
        f"{made.divisible}",
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
