"""Usual names of what an interaction has: its user, its item, its rating and its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Role = Literal["user", "item", "rating", "time"]

_KNOWN_NAMES = {  # without case, spaces, hyphens and underscores; those of people and things also with id after them
    "user": ("user", "customer", "client", "member", "account", "visitor", "reviewer", "buyer", "uid", "userno"),
    "item": (
        *("item", "product", "article", "sku", "movie", "film", "book", "business", "artist", "track", "song", "video"),
        *("game", "app", "recipe", "content", "asin", "parentasin", "isbn", "iid"),
    ),
    "rating": ("rating", "score", "stars"),
    "time": ("timestamp", "time", "datetime", "date", "ts"),
}
_JOINTS = str.maketrans("", "", " -_")
_SHOWN = 20  # names at most that a message lists
_LENGTH = 40  # characters at most of each


def usual_name(present: Sequence[str], role: Role) -> str | None:
    """Return the most usual of the names that something with a role has; None if none of them is usual."""
    bare = {name.strip().lower().translate(_JOINTS): name for name in reversed(present)}
    ending = "id" if role in ("user", "item") else ""
    known = (name + end for name in _KNOWN_NAMES[role] for end in dict.fromkeys(("", ending)))
    return next((bare[name] for name in known if name in bare), None)


def list_names(names: Sequence[str]) -> str:
    """Join names for a message, as far as a reader wants them."""
    shown = ", ".join(printable(name, _LENGTH) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def printable(text: str, length: int = 300) -> str:
    """Return a text of a file for a message: what a terminal cannot print is escaped, and what is long is cut."""
    cut = text[:length] + ("…" if len(text) > length else "")
    return cut if cut.isprintable() else ascii(cut)[1:-1]
