"""The error of a problem or a method that is right, but misses something on this machine."""

from __future__ import annotations


class Unavailable(RuntimeError):
    """A file, a package or a device is missing, and the message says how to get it; problem and method are right."""
