"""What a public function or class raises, its docstring says, and of which shape the arrays are that it is about."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType

import pytest
import torch

SAID = {"ValueError", "TypeError", "Diverged", "UsageError"}

# Names whose docstrings do not say yet what they raise. Entries are only ever taken out.
SILENT: dict[str, set[str]] = {"problems": set(), "solvers": set(), "harness": set()}


ARRAYS = re.compile(r"\b(Tensor|ndarray|Reals|Array|Flags)\b")
SHAPE = re.compile(r"\([^()]*([,…]|\(\w[^()]*\))[^()]*\)|\bshapes?\b|\bscalar\b")
"""How docstrings say a shape: "(n, D)", "(n,)", "(…)", "(D(D+1)/2,)", or by the word."""


def raised(function: FunctionType) -> set[str]:
    """Return the names of the exceptions of ``SAID`` that the function's own body raises, ``require_…`` included."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    found: set[str] = set()
    waiting: list[ast.AST] = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        waiting += ast.iter_child_nodes(node)
        called = node.exc if isinstance(node, ast.Raise) else None
        named = called.func if isinstance(called, ast.Call) else called
        if isinstance(named, ast.Name):
            kind = function.__globals__.get(named.id, getattr(builtins, named.id, None))
            if isinstance(kind, type) and SAID.intersection(base.__name__ for base in kind.__mro__):
                found.add(named.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("require_"):
            found.add("ValueError")
    return found


def defined(package: str) -> Iterator[tuple[str, object, type | None, str]]:
    """Yield the name of every public function, class and method that a package defines, itself, its class and file."""
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        held = importlib.import_module(module.name)
        assert held.__file__ is not None
        for name, value in vars(held).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.name:
                continue
            yield f"{module.name}.{name}", value, None, held.__file__
            for own, member in vars(value).items() if isinstance(value, type) else ():
                method = body(member)
                if method is not None and method.__code__.co_filename == held.__file__ and not own.startswith("_"):
                    yield f"{module.name}.{name}.{own}", method, value, held.__file__


def public(package: str) -> Iterator[tuple[str, str | None, set[str]]]:
    """Yield the name, docstring and raised exceptions of every public function, class and method of a package."""
    for name, value, owner, file in defined(package):
        if owner is not None:
            # What overrides a method may leave what it says to that one.
            assert isinstance(value, FunctionType)
            yield name, inspect.getdoc(getattr(owner, name.rpartition(".")[2])), raised(value)
        elif isinstance(value, FunctionType):
            yield name, value.__doc__, raised(value)
        elif isinstance(value, type):
            checks = vars(value).get("__post_init__", vars(value).get("__init__"))
            if isinstance(checks, FunctionType) and checks.__code__.co_filename == file:
                yield name, value.__doc__, raised(checks)


def body(member: object) -> FunctionType | None:
    """Return the function that a member of a class wraps, or ``None`` where it wraps none."""
    for inner in ("__func__", "fget", "func", "__wrapped__"):
        member = getattr(member, inner, None) or member
    return member if isinstance(member, FunctionType) else None


@pytest.mark.parametrize("package", SILENT)
def test_docstrings_say_what_is_raised(package):
    silent = {name for name, said, kinds in public(package) if kinds and "aise" not in (said or "")}
    assert silent - SILENT[package] == set(), "their docstrings do not say what is raised"
    assert SILENT[package] - silent == set(), "these do by now: take them out of SILENT"


def takes_or_returns_arrays(function: FunctionType) -> bool:
    """Return whether an argument or the result is an array, or a tuple or a sequence of some."""
    return any(ARRAYS.search(str(each)) for each in function.__annotations__.values())


def about_arrays(package: str) -> Iterator[tuple[str, str]]:
    """Yield the name and docstring of public functions and methods of a package that are about arrays.

    What overrides a method may leave the shapes to that one.
    """
    for name, value, owner, _ in defined(package):
        overrides = owner is not None and any(name.rpartition(".")[2] in vars(base) for base in owner.__mro__[1:])
        if isinstance(value, FunctionType) and not overrides and takes_or_returns_arrays(value):
            yield name, value.__doc__ or ""


@pytest.mark.parametrize("package", ["problems", "solvers", "harness.measure"])
def test_docstrings_say_shapes(package):
    silent = {name for name, said in about_arrays(package) if not SHAPE.search(said)}
    assert silent == set(), "their docstrings do not say of which shape the arrays are"


def test_what_is_about_arrays_is_found():
    def of_a_number(x: float) -> float:
        return x

    def of_several(x: tuple[torch.Tensor, ...]) -> float:
        return float(len(x))

    assert not takes_or_returns_arrays(of_a_number)
    assert takes_or_returns_arrays(of_several)
    assert all(SHAPE.search(said) for said in ("Return x (n, D).", "Return T (…).", "Return Q (D(D+1)/2,)."))
    assert not SHAPE.search("Return it (the flow).")


def test_what_a_body_raises_is_found():
    def raises(value):
        if value:
            raise ValueError("no")
        raise KeyError("not looked for")

    def calls(value):
        def inside():
            raise ValueError("another's")

        require_positive("owner", value=value)  # noqa: F821
        return inside

    assert raised(raises) == {"ValueError"}
    assert raised(calls) == {"ValueError"}
