"""Bad input, whatever is bad about it: exactly one line that names it, and exit code 2."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
OU = "[[problems]]\nuse = 'ornstein-uhlenbeck'\n"
EULER = "[[solvers]]\nuse = 'euler-maruyama'\n"
LINEAR = "[[problems]]\nuse = 'linear-filtering'\n"
GRID = "[[solvers]]\nuse = 'chang-cooper'\n"
POROUS = "[[problems]]\nuse = 'porous-medium'\ndims = '3'\n"
GIVEN = OU + "settings = { instance = 'given', "


def refused(printed: Any, said: str) -> None:
    assert printed.code == 2, printed
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "ouu"], "unknown suite 'ouu'; did you mean 'ou'?"),
        (["run", "suite.yaml"], "suites are TOML files whose names end in .toml, got 'suite.yaml'"),
        (["run", "there.yml"], "suites are TOML files whose names end in .toml, got 'there.yml'"),
        (["run", "notes"], "suites are TOML files whose names end in .toml, got 'notes'"),
        (["run", "nowhere.toml"], "suite 'nowhere.toml' cannot be read"),
        (["run", "folder.toml"], "suite 'folder.toml' cannot be read: Is a directory"),
        (["run", "latin.toml"], "suite 'latin.toml' is not text in UTF-8"),
        (["run", "wide.toml"], "suite 'wide.toml' is not text in UTF-8"),
        (["run", "torn.toml"], "suite 'torn.toml' is not TOML"),
        (["run", "ou", "--solver", "euler-maruyma"], "unknown solver 'euler-maruyma'; did you mean 'euler-maruyama'?"),
        (["run", "ou", "--problem", "ornstein"], "unknown problem 'ornstein'"),
        (["run", "ou", "--preset", "papr"], "did you mean 'paper'?"),
        (["run", "ou", "--dims", "0"], "dims must be whole numbers >= 1, ranges rising; got '0'"),
        (["run", "ou", "--dims", "3:1"], "dims must be whole numbers >= 1, ranges rising; got '3:1'"),
        (["run", "ou", "--dims", "a:b"], "dims must be numbers such as 2,6 or 1:12, got 'a:b'"),
        (["run", "ou", "--seeds", "-3"], "seeds must be a count >= 1"),
        (["run", "ou", "--seeds", "1.5"], "seeds must be numbers such as"),
        (["run", "ou", "--timeout", "soon"], "timeout must be a duration > 0"),
        (["run", "ou", "--timeout", "0s"], "timeout must be a duration > 0"),
        (["run", "ou", "--memory", "4"], "memory must be a size > 0"),
        (["run", "ou", "--device", "cuda:7"], "device 'cuda:7' is not there"),
        (["run", "ou", "--device", "tpu"], "device must be cpu, cuda, cuda:N or auto; got 'tpu'"),
        (["run", "ou", "--backend", "slurm"], "unknown backend 'slurm'"),
        (["run", "ou", "--backend", "dask", "--stop-hopeless"], "--stop-hopeless needs --backend local, got 'dask'"),
        (["run", "ou", "--backend", "dask", "--timing"], "--timing needs --backend local, got 'dask'"),
        (["run", "ou", "--backend", "dask", "-j", "2"], "-j 2 needs --backend local, got 'dask'"),
        (["run", "ou", "--scheduler", "tcp://h:1"], "--scheduler needs --backend dask, got 'tcp://h:1' without"),
        (["run", "ou", "--cell", "zzz"], "have a key that starts with 'zzz'"),
        (["run", "ou", "--set", "euler-maruyama.step_size"], "--set must be NAME.SETTING=VALUE such as"),
        (["run", "ou", "--set", "step_size=0.1"], "--set must be NAME.SETTING=VALUE such as"),
        (["run", "ou", "--set", "euler.step_size=0.1"], "unknown component to set 'euler'"),
        (["run", "ou", "--set", "euler-maruyama.stepsize=0.1"], "did you mean 'step_size'?"),
        (["run", "ou", "--set", "euler-maruyama.step_size=wide"], "setting step_size = 'wide': Input should be"),
        (["run", "ou", "--set", "euler-maruyama.dtype=2021-01-01"], "dtype = datetime.date(2021, 1, 1): a number, a "),
        (["run", "ou", "--set", "euler-maruyama.step_size=[0.1]"], "setting step_size = [0.1]: Input should be"),
        (["run", "ou", "--measures", "symlk"], "unknown measure 'symlk'; did you mean 'symkl'?"),
        (["run", "ou", "--data", "nowhere"], "--data 'nowhere' is not a folder"),
        (["run", "ou", "--data", "notes"], "--data 'notes' is not a folder"),
        (["run", "demo", "--problem", "double-well", "--dims", "7"], "the selection leaves nothing to run"),
        (["run", "ou", "--plugin", "absent.py"], "plugin 'absent.py' does not import"),
        (["run", "ou", "--plugin", "broken.py"], "'broken.py' does not import: ModuleNotFoundError"),
        (["run", "ou", "--plugin", "empty.py"], "holds no solver, no problem family and no measure"),
        (["run", "ou", "--plugin", "hiding.py"], "queue.py beside it is hidden by another module 'queue'"),
        (["run", "ou", "--plugin", "folder.toml"], "plugin 'folder.toml' does not import"),
        (["run", "ou", "--store", "folder.toml"], "store 'folder.toml' cannot be opened: it is a folder, not a file"),
        (["run", "ou", "--store", "notes"], "'notes' is not a wgfbench store"),
        (["run", "ou", "--store", "notes/s.sqlite"], "the store 'notes/s.sqlite' cannot be opened"),
        (["run", "ou", "--store", "theirs.sqlite"], "is not a wgfbench store: it is a database of something else"),
        (["run", "ou", "--store", "newer.sqlite"], "upgrade wgfbench to read it"),
        (["show"], "there is no store at"),
        (["show", "--store", "folder.toml"], "it is a folder, not a file"),
        (["show", "--store", "notes"], "'notes' is not a wgfbench store"),
        (["show", "--store", "newer.sqlite"], "upgrade wgfbench to read it"),
        (["show", "--store", "fresh.sqlite"], "holds no run yet"),
        (["show", "ouu", "--store", "fresh.sqlite"], "unknown suite in the store 'fresh.sqlite': 'ouu'"),
        (["show", "--cell", "zzz", "--store", "fresh.sqlite"], "0 cells of the store 'fresh.sqlite' have a key"),
        (["report"], "there is no store at"),
        (["report", "--store", "theirs.sqlite"], "it is a database of something else"),
        (["export", "--store", "nowhere.sqlite"], "there is no store at 'nowhere.sqlite'"),
        (["compare", "fresh.sqlite", "nowhere.sqlite"], "there is no store at 'nowhere.sqlite'"),
        (["compare", "fresh.sqlite", "fresh.sqlite"], "have no cell in common"),
        (["merge", "fresh.sqlite", "-o", "new.sqlite"], "merge takes two stores or more, got 1"),
        (["merge", "fresh.sqlite", "nowhere.sqlite", "-o", "new.sqlite"], "there is no store at 'nowhere.sqlite'"),
        (["merge", "fresh.sqlite", "notes", "-o", "new.sqlite"], "'notes' is not a wgfbench store"),
        (["merge", "fresh.sqlite", "fresh.sqlite", "-o", "fresh.sqlite"], "'fresh.sqlite' is there already"),
        (["check", "chang-coper"], "did you mean 'chang-cooper'?"),
    ],
)  # fmt: skip
def test_the_command_line(command: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    from harness.store import Store

    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "notes").write_text("these are notes, and no database")
    (tmp_path / "there.yml").write_text("title: a suite")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"\n')
    (tmp_path / "wide.toml").write_bytes('title = "t"\n'.encode("utf-16"))
    (tmp_path / "torn.toml").write_text("title = ")
    (tmp_path / "broken.py").write_text("import no_such_package")
    (tmp_path / "empty.py").write_text("x = 1")
    (tmp_path / "queue.py").write_text("x = 1")
    (tmp_path / "hiding.py").write_text("import queue")
    with sqlite3.connect(tmp_path / "theirs.sqlite") as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()
    for name in ("fresh", "newer"):
        with Store(tmp_path / f"{name}.sqlite") as store:
            if name == "newer":
                store.connection.execute("PRAGMA user_version = 99")
    before = sorted(path.name for path in tmp_path.iterdir())
    refused(command(*arguments), said)
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "what was refused has left something behind"
    assert (tmp_path / "notes").read_text() == "these are notes, and no database"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('colour = "red"', "unknown key of suite"),
        ("seeds = [1]", """seeds = [1]: a count or a text such as "0,3" or "5:9" is meant"""),
        ("seeds = 1.5", """seeds = 1.5: a count or a text such as "0,3" or "5:9" is meant"""),
        ("dims = [1, 2]", """dims = [1, 2]: a number or a text such as "2,6" or "1:12" is meant"""),
        (OU + "dims = [1, 2]", """problems.0.dims = [1, 2]: a number or a text such as "2,6" or "1:12" is meant"""),
        (EULER + "dims = [1, 2]", """solvers.0.dims = [1, 2]: a number or a text such as"""),
        (OU + "settings = { instance = 2021-01-01 }", "instance = datetime.date(2021, 1, 1): a number, a text, true"),
        (OU + "grid = { instance = [2021-01-01] }", "and a text in quotes; not a date"),
        ("draws = 'many'", "draws = 'many'"),
        ("draws = 1", "draws = 1"),
        ("seeds = -2", "seeds must be a count >= 1"),
        ("id = 'two words'", "id of a suite must be letters, digits and . _ -, got 'two words'"),
        ("id = ''", "id of a suite must be letters, digits and . _ -, got ''"),
        ("id = 'ou'", "id 'ou' is the name of a shipped suite"),
        ("id = 3", "id = 3"),
        ("measures = ['symlk']", "unknown measure 'symlk'; did you mean 'symkl'?"),
        (OU + "settings = { instanse = 'random' }", "did you mean 'instance'?"),
        (OU + "settings = { inverse_temperature = 0.0 }", "inverse_temperature"),
        (OU + "settings = { inverse_temperature = 'warm' }", "'warm'"),
        (OU + "settings = { times = 0.5 }", "setting times = 0.5: a list is meant, such as [0.5, 2.0]"),
        (OU + "settings = { times = [] }", "times must hold at least one time"),
        (OU + "settings = { times = [0.5, 0.2] }", "times must increase"),
        (OU + "settings = { times = [0.3, 0.30000000000000004] }", "0.3 and 0.30000000000000004 are one, written diff"),
        (OU + "settings = { times = [1.0, 1.0000000015] }", "are one, written differently"),
        (OU + "settings = { times = [0.5, [1.0]] }", "[1]: Input should be a valid number"),
        (OU + "settings = { times = [-0.5] }", "times[0] must be a finite number > 0, got -0.5"),
        (OU + "settings = { times = [inf] }", "times[0] must be a finite number > 0, got inf"),
        (OU + "settings = { instance = 'random', spectrum = [0.5] }", "a list of 2 is meant, this one has 1"),
        (OU + "settings = { instance = 'random', spectrum = [0.5, 1.0, 2.0] }", "a list of 2 is meant, this one has 3"),
        (OU + "settings = { instance = 'random', spectrum = [2.0, 0.5] }", "spectrum must be (smallest, largest)"),
        (LINEAR + "settings = { spectrum = [0.5] }", "a list of 2 is meant, this one has 1"),
        (LINEAR + "settings = { spectrum = [] }", "a list of 2 is meant, this one has 0"),
        (LINEAR + "settings = { spectrum = 0.5 }", "a list is meant, such as [0.5, 2.0]"),
        (LINEAR + "settings = { spectrum = [[0.5, 2.0]] }", "a list of 2 is meant, this one has 1"),
        (GIVEN + "precision = [[1.0, 2.0], [2.0, 1.0]], centre = [0.0, 0.0] }", "must be positive definite"),
        (GIVEN + "precision = [[1.0, 0.0], [0.0, 1.0]], centre = [0.0] }", "centre (b) must have shape (2,), got"),
        (GIVEN + "precision = [1.0], centre = [0.0] }", "[0]: a list is meant"),
        (POROUS + "settings = { exponent = 0.0 }", "exponent must be a finite number > 0, got 0.0"),
        (POROUS + "settings = { exponent = -0.5 }", "exponent must be a finite number > 0, got -0.5"),
        (POROUS + "settings = { exponent = nan }", "exponent must be a finite number > 0, got nan"),
        (POROUS + "settings = { exponent = 1.0 }", "exponent must not be 1"),
        (POROUS + "settings = { exponent = 0.2 }", "porous-medium has no dimension 3 (there are: 1)"),
        (EULER + "settings = { step_size = 0.0 }", "step_size must be a finite number > 0"),
        (EULER + "settings = { step_size = 3.0 }", "larger than the horizon"),
        (EULER + "settings = { step_size = 0.4 }", "time 0.5 is not a multiple of step_size 0.4"),
        (EULER + "settings = { particles = -1 }", "particles must be a whole number >= 1"),
        (EULER + "settings = { particles = [100, 200] }", "setting particles = [100, 200]: Input should be"),
        (EULER + "grid = { particles = [] }", "the grid of particles is empty"),
        (EULER + "grid = { particles = 100 }", "grid.particles = 100"),
        (EULER + EULER + "settings = { particles = 7 }", "two solvers of the suite are both labelled 'euler-maruyama'"),
        (GRID + "settings = { domain = [1.0, 2.0, 3.0] }", "a list of 2 is meant, this one has 3"),
        (GRID + "settings = { domain = [1.0] }", "a list of 2 is meant, this one has 1"),
        (GRID + "grid = { domain = [-5.0, 5.0] }", "setting domain = -5.0: a list is meant"),
        (GRID + "settings = { domain = [5.0, -5.0] }", "domain must be (lower, upper)"),
    ],
)  # fmt: skip
def test_a_suite(command: Command, tmp_path: Path, lines: str, said: str) -> None:
    head = 'title = "bad"\n'
    if "[[" not in lines:
        head, lines = head + lines + "\n", ""
    body = lines
    if "[[problems]]" not in body:
        body += "\n" + OU
    if "[[solvers]]" not in body:
        body += "\n" + EULER
    (tmp_path / "bad.toml").write_text(head + body)
    refused(command("run", "bad.toml"), said)
    assert not (tmp_path / "results").exists(), "a suite that cannot run leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "--preset", "papr"], "unknown preset of suite"),
        (["show", "--measure", "symlk"], "unknown measure of this suite 'symlk'"),
        (["show", "--measure", "symkl-gaussian,symlk"], "unknown measure of this suite 'symlk'"),
        (["show", "--solver", "shiftd"], "unknown solver of this suite 'shiftd'; did you mean 'shifted'?"),
        (["show", "tset"], "unknown suite in the store"),
        (["export", "--format", "xlsx"], "unknown format 'xlsx'"),
        (["export", "--format", "parquet"], "parquet is not text: name the file to write with --output"),
        (["export", "--measure", "symlk"], "unknown measure of this suite 'symlk'"),
        (["export", "-o", "folder"], "'folder' cannot be written: Is a directory"),
        (["export", "-o", "notes/new.csv"], "'notes/new.csv' cannot be written"),
        (["report", "-o", "folder"], "'folder' cannot be written: Is a directory"),
        (["report", "-o", "notes/new.html"], "'notes/new.html' cannot be written"),
    ],
)
def test_a_store_with_a_run(command: Command, tmp_path: Path, plugin: Path, arguments: list[str], said: str) -> None:
    from harness.catalogue import catalogue
    from harness.outcome import Measurement, Outcome
    from harness.plan import Selection, plan
    from harness.provenance import provenance
    from harness.store import Store
    from harness.suite import Suite

    suite = {"title": "t", "problems": [{"use": "standing"}], "solvers": [{"use": "shifted"}]}
    cells = plan(Suite.model_validate(suite), Selection(), catalogue([plugin]))
    with Store(tmp_path / "s.sqlite") as store:
        store.record_plan("test", "", cells, "wgfbench run t.toml")
        run = store.begin("test", "", provenance(1))
        for cell in cells:
            figure = Measurement(1.0, "symkl-gaussian", 1.0, 0.0, "test", None)
            store.record(cell, Outcome("ok", measurements=(figure,)), run, 0)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes").write_text("no folder")
    refused(command(*arguments, "--store", "s.sqlite"), said)


def test_an_output_may_lie_in_a_folder_that_is_not_there_yet(
    command: Command, tmp_path: Path, plugin: Path, suite_file: Callable[..., Path]
) -> None:
    assert command("run", suite_file("shifted"), "--plugin", plugin, "--store", "new/s.sqlite").code == 0
    for arguments, path in (
        (["export", "-o", "a/b/t.csv"], "a/b/t.csv"),
        (["export", "--format", "latex", "-o", "c/t.tex"], "c/t.tex"),
        (["report", "-o", "d/e/page.html"], "d/e/page.html"),
        (["merge", "new/s.sqlite", "new/s.sqlite", "-o", "f/m.sqlite"], "f/m.sqlite"),
    ):
        store = [] if arguments[0] == "merge" else ["--store", "new/s.sqlite"]
        assert command(*arguments, *store).code == 0
        assert (tmp_path / path).stat().st_size > 0


def test_a_folder_with_a_file_named_like_a_module_does_no_harm(
    tmp_path: Path, plugin: Path, suite_file: Callable[..., Path], wgfbench: Command
) -> None:
    """The server that cells are forked from is started there, and imports what it needs from elsewhere."""
    (tmp_path / "queue.py").write_text("x = 1")
    (tmp_path / "solvers.py").write_text("x = 1")
    ran = wgfbench("run", suite_file("shifted"), "--plugin", plugin, "--store", "s.sqlite")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_suite_may_begin_with_a_byte_order_mark(command: Command, tmp_path: Path, mark: bytes, end: bytes) -> None:
    text = ('title = "t"\n' + OU + EULER).encode().replace(b"\n", end)
    (tmp_path / "marked.toml").write_bytes(mark + text)
    assert command("run", "marked.toml", "--dry-run").code == 0


def test_a_step_of_a_tenth_and_two_reaches_three(command: Command, tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text(
        'title = "t"\n'
        + OU
        + "settings = { times = [0.3] }\n"
        + EULER
        + f"settings = {{ step_size = {0.1 + 0.2!r} }}\n"
    )
    assert command("run", "h.toml", "--dry-run").code == 0


def test_damaged_data_are_one_line(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    (tmp_path / "b.toml").write_text(
        'title = "t"\n[[problems]]\nuse = "logistic-regression"\nsettings = { data = "banana" }\n'
        '[[solvers]]\nuse = "laplace"\n'
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "banana.csv.gz").write_bytes(gzip.compress(b"label\n1\n")[:-7])
    assert command("run", "b.toml", "--data", "data", "--dry-run").code == 0
    printed = command("run", "b.toml", "--data", "data", "--solver", "laplace", "--store", "s.sqlite")
    assert printed.code == 1
    assert "banana.csv.gz" in printed.err
