"""Environment variables for a while, which the whole process sees: other threads as well."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def with_variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in this process's environment inside, and what there was before them afterwards."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
