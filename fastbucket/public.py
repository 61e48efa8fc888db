"""A place as others may see it: addresses may hold what opens them."""

from __future__ import annotations

import re

WEB = ("http://", "https://")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""What an address begins with."""


def public(place: str) -> str:
    """An address without its user and its query; what is none, a path or a command, as it is.

    A wildcard may look like a query, so that goes from addresses of the web and where it names a
    value (`?token=...`); and so may a revision like a user, which goes if it has a password.
    """
    scheme = SCHEME.match(place)
    if scheme is None:
        return place
    rest = place[scheme.end() :]
    path, _, query = rest.partition("?")
    is_web = scheme[0].lower() in WEB
    if not is_web and "=" not in query:
        path = rest
    host, slash, inside = path.partition("/")
    user, at, _ = host.rpartition("@")
    if at and (is_web or ":" in user):
        host = host[len(user) + 1 :]
    return f"{scheme[0]}{host}{slash}{inside}"
