"""A place as others may see it: addresses may hold what opens them."""

from __future__ import annotations

WEB = ("http://", "https://")


def public(place: str) -> str:
    """An address without its user and its query; what is none, a path or a command, as it is.

    A wildcard may look like a query, so that goes from addresses of the web and where it names a
    value (`?token=...`); and so may a revision like a user, which goes if it has a password.
    """
    scheme, colon, rest = place.partition("://")
    if not colon or not scheme.isascii() or not scheme.replace("+", "").isalnum():
        return place
    path, _, query = rest.partition("?")
    is_web = f"{scheme.lower()}://" in WEB
    if not is_web and "=" not in query:
        path = rest
    host, slash, inside = path.partition("/")
    user, at, _ = host.rpartition("@")
    if at and (is_web or ":" in user):
        host = host[len(user) + 1 :]
    return f"{scheme}://{host}{slash}{inside}"
