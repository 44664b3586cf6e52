"""The one error that says: nothing is wrong, but something that is needed is not here."""

from __future__ import annotations


class Unavailable(RuntimeError):
    """Something outside problem and method is missing (a file, a package, a device); the message says how to get it."""
