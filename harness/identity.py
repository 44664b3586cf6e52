"""The names and settings that a cell's key and random streams go by, whatever they are called today.

The names are those of the first commit that kept this table, and each built-in component counts with all the settings
that it had there, so that figures stored then stay the figures of the same cells:

- a setting or a component that has another name since counts under its old one (``FORMERLY``);
- a setting that has gone counts with the value that was its default: what the code now does without asking;
- a setting that is new counts only where it differs from its default. Who changes that default later raises the
  component's ``version``.

Components that are not in the table, those of plug-ins and later ones, count as they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from harness.catalogue import Kind, import_target
from harness.former_names import FORMERLY, SETTINGS, Former


def former(
    kind: Kind, name: str, settings: Mapping[str, Any], target: str, problem: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings (JSON values) that a component counts under, on a problem of that old name."""
    entries = FORMERLY.get((kind, name), ())
    entry = next((each for each in entries if each.holds(settings, problem)), Former(name))
    table = SETTINGS.get(kind, {}).get(entry.name)
    if table is None:
        return entry.name, dict(settings)
    called = {entry.settings.get(key, key): key for key in settings}
    new = called.keys() - table.keys()
    defaults = default_settings(target) if new else {}
    counting = {old: settings[key] for old, key in called.items() if old in table or settings[key] != defaults[key]}
    return entry.name, {**table, **entry.fixed, **counting}


def default_settings(target: str) -> dict[str, Any]:
    """Return the defaults of a component's settings as JSON values; one that is required has none, and no value."""
    fields = dataclasses.fields(import_target(target))
    values = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in fields
        if field.init
    }
    given = {name: value for name, value in values.items() if value is not dataclasses.MISSING}
    plain: dict[str, Any] = json.loads(json.dumps(given))
    return {name: plain.get(name, dataclasses.MISSING) for name in values}
