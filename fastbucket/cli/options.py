"""One option for every field of a frozen dataclass: its name with dashes, its help, its default."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import RunError
from ..recipe import Recipe, source_date_epoch
from ..resources import Resources

Command = TypeVar("Command", bound=Callable[..., Any])


class _Separated(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Values with commas between them: 2,3."""

    def __init__(self, inner: type) -> None:
        self._inner = inner
        self.name = f"{'integers' if inner is int else 'names'}"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._inner(part.strip()) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of integers with commas between them", param, ctx)


def _type(field: Field[Any]) -> Any:
    if field.metadata["choices"]:
        return click.Choice(field.metadata["choices"])
    if isinstance(field.default, tuple):
        return _Separated(type(field.default[0]) if field.default else field.metadata["item"])
    return type(field.default)


def _shown(field: Field[Any]) -> str:
    assert field.default is not MISSING
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    if isinstance(field.default, tuple):
        return ",".join(map(str, field.default)) or "none"
    return str(field.default) if field.default != "" else "none"


def options(kind: type, names: Collection[str] = ()) -> Callable[[Command], Command]:
    """A decorator that adds the fields of `kind` (Recipe or Resources) as options. names: of those
    that it adds; empty: all."""

    def add(command: Command) -> Command:
        for field in reversed([f for f in fields(kind) if not names or f.name in names]):
            command = click.option(
                f"--{field.name.replace('_', '-')}",
                field.name,
                type=_type(field),
                is_flag=isinstance(field.default, bool),
                default=None,  # None: not given, so that it does not override --recipe
                help=f"{field.metadata['help']}  [default: {_shown(field)}]",
            )(command)
        return command

    return add


def _given(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {k: v for k, v in values.items() if k in names and v is not None}


def recipe(values: dict[str, Any], file: str | None) -> Recipe:
    """The recipe of `file` (a manifest, or its `recipe`), overridden by the options given."""
    base: dict[str, Any] = {"mtime": source_date_epoch()}
    if file:
        try:
            facts = json.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"--recipe {file}: {error}") from None
        if not isinstance(facts, dict):
            raise RunError(f"--recipe {file} is no JSON object")
        base = Recipe.from_json(facts).to_json()
    given = _given(Recipe, values)
    if "base_resolutions" in given or "base_resolution" in given:  # the one overrides the other
        base = {k: v for k, v in base.items() if k not in ("base_resolution", "base_resolutions")}
    return Recipe.from_json(base | given)


def resources(values: dict[str, Any]) -> Resources:
    return Resources(**_given(Resources, values))
