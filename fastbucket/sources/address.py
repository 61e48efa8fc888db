"""From addresses to archives, and from archives to their bytes: who does what for which scheme.

Each is loaded when it is wanted: a run of local tars does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..catalogue import Archive
from ..errors import RunError
from ..progress import At, unwatched
from ..public import SCHEME, WEB, public
from .braces import braces
from .packing import Bytes

_AT_ONCE = 16
"""Addresses that are asked at the same time: 4,096 of them at 30 ms take 8 s."""

PIPE = "pipe:"


def is_remote(source: str) -> bool:
    """Whether a source is named by an address, or by the command that prints it."""
    return source.startswith(PIPE) or SCHEME.match(source) is not None


def archives(source: str, allow_pipe: bool) -> list[Archive]:
    """The archives of an address with braces and, where its store can list, wildcards. Raises
    RunError for what is not there, cannot be asked, or is not allowed."""
    if source.startswith(PIPE):
        if not allow_pipe:
            raise RunError(
                f"source {source}: this runs a command in a shell, which whoever made the list "
                "decides. fastbucket export takes it with --allow-pipe"
            )
        from . import command

        return [command.archive(pattern) for pattern in braces(source)]
    scheme = SCHEME.match(source)
    assert scheme is not None
    source = scheme[0].lower() + source[scheme.end() :]
    if source.startswith(WEB):
        if "*" in source.partition("?")[0]:
            raise RunError(
                f"source {public(source)}: a web server has no list to look into. "
                "Name the tars, with braces: {0000..0123}.tar"
            )
        from . import web

        return _at_once(lambda pattern: [web.archive(pattern)], braces(source))
    from . import store

    return _at_once(lambda pattern: list(store.archives(pattern)), braces(source))


def _at_once(ask: Callable[[str], list[Archive]], patterns: Sequence[str]) -> list[Archive]:
    """The archives of all patterns in their order. The first is asked for alone: a store that
    cannot be reached is so once, and what it lists is there for the others."""
    from concurrent.futures import ThreadPoolExecutor

    found = ask(patterns[0])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return found + [archive for more in pool.map(ask, patterns[1:]) for archive in more]


def opened(archive: Archive, at: At = unwatched) -> Bytes:
    """The bytes of a remote archive, as they are stored. Raises StreamError, then and later."""
    if archive.path.startswith(PIPE):
        from . import command

        return command.Output(archive, at)
    if archive.path.startswith(WEB):
        from . import web

        return web.Download(archive, at)
    from . import store

    return store.Object(archive, at)
