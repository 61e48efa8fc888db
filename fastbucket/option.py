"""A field of `Recipe` or `Resources`, of which the command line makes one option: with its help,
its default and its choices."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    later: bool = False,
    only_with: tuple[str, str] = ("", ""),
    item: type = str,
) -> Any:
    """later: not of the first recipes, and so not in the JSON while it has its default.
    only_with: another field and the value of it without which this one would do nothing.
    item: what a tuple is of that is empty by default."""
    facts = {"help": help, "choices": choices, "later": later, "only_with": only_with, "item": item}
    return field(default=default, metadata=facts)
