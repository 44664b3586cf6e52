import builtins
import json
import re

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from harness.errors import UsageError
from harness.report import tables
from harness.report.page import page
from harness.report.paper_table import escaped, latex


@pytest.fixture
def nasty(make_cell, make_frame):
    """One run whose label holds what Markdown, LaTeX and rich give a meaning to."""
    figures = [(0.5, "symkl", 0.25, 0.1, 0.125)]
    label = "a|b_c % [red]x[/red] \\ <i>"
    return make_frame(make_cell("well", json.dumps({}), "s", {}, label, 3, 0, figures, solve_seconds=2.0))


def printed(frame, metrics=None):
    console = Console(width=200)
    with console.capture() as capture:
        for table in tables.terminal(frame, metrics):
            console.print(table)
    return capture.get()


def test_terminal_shows_figures_and_counts(realistic):
    text = printed(realistic)
    assert "ornstein-uhlenbeck · instance=mokrov2021: symkl-published (lower is better)" in text
    assert re.search(r"euler-maruyama particles=50000 .* 12/15 .*\n *diverged 3 ", text)
    assert re.search(r"gaussian-jko order=1 .* 0/5 .*\n *error 5 ", text)
    assert "not run: chang-cooper" in text


def test_unfinished_runs_are_marked_with_the_reason(make_cell, make_frame):
    """In the terminal, in Markdown and on the page; the runs are ok."""
    figures = [(0.5, "symkl", 0.25, 0.1, 0.125)]
    cells = [
        make_cell("well", "{}", solver, {}, solver, 2, 0, figures, diagnostics=json.dumps(said))
        for solver, said in (("mala", {"rhat": 1.42, "ess": 430}), ("laplace", {"pareto_k": 0.2}))
    ]
    frame = make_frame([row for cell in cells for row in cell])
    text = printed(frame)
    assert re.search(r"mala .* 1/1 .*\n *† R̂ 1.42, above 1.01", text)
    assert text.count("†") == 1
    assert "1/1, † R̂ 1.42, above 1.01" in tables.markdown(frame)
    assert page(frame, "t", "").count('<abbr class="unfinished" title="R̂ 1.42, above 1.01">†</abbr>') == 1
    assert latex(frame).count("$^\\dagger$") == 1
    assert "% dagger: R̂ 1.42, above 1.01" in latex(frame)


def test_narrow_terminal_keeps_figures_whole(realistic):
    console = Console(width=80)
    with console.capture() as capture:
        for table in tables.terminal(realistic, ["symkl-published"]):
            console.print(table)
    text = capture.get()
    assert "[0.00641, 0.00657]" in text
    assert "seconds" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_standard_errors_stand_beside_medians(realistic):
    console = Console(width=92)
    with console.capture() as capture:
        for table in tables.terminal(realistic, ["symkl-published"], errors=True):
            console.print(table)
    text = capture.get()
    assert "s.e." in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 92


def test_a_papers_table_has_errors_and_no_exact_draws_unless_asked(realistic):
    text = tables.latex(realistic)
    assert "oracle" not in text
    assert "oracle" in tables.latex(realistic, bounds=True)
    assert r"{\scriptsize$\pm$" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") > 1


def test_a_papers_table_is_bold_where_nobody_is_told_better(make_cell, make_frame):
    far = {"far": (3.0, 2.9, 3.2), "near": (1.0, 1.1, 0.95)}
    rows = [
        row
        for label, values in far.items()
        for seed, value in enumerate(values)
        for row in make_cell("well", "{}", label, {}, label, 1, seed, [(1.0, "symkl", value, 0.01, 0.0)])
    ]
    text = tables.latex(make_frame(rows))
    assert r"near & \textbf{1.00}" in text
    assert r"far & 3.00" in text


def paper(make_cell, make_frame, **runs):
    """Return the LaTeX of solvers with a figure a seed, or the status of a run without one."""
    rows = []
    for label, values in runs.items():
        for seed, value in enumerate(values):
            ended = {"status": value} if isinstance(value, str) else {}
            figures = [] if ended else [(1.0, "symkl", value, 0.01, 0.0)]
            rows += make_cell("well", "{}", label, {}, label, 1, seed, figures, **ended)
    return tables.latex(make_frame(rows))


def test_a_papers_table_counts_the_runs_that_are_missing(make_cell, make_frame):
    """Failed, declined or still to come: (answered/planned), beside a figure and beside none."""
    failed = ("diverged",) * 4
    text = paper(make_cell, make_frame, near=(1.0, 1.1, 0.95, "skipped"), far=(3.0, 2.9, 3.2, 3.1), lost=failed)
    assert re.search(r"near & \\textbf\{1.00\} .* \{\\scriptsize\(3/4\)\}", text)
    assert re.search(r"far & 3.05 \{\\scriptsize\$\\pm\$[.0-9]*\} \\\\", text)
    assert r"lost & -- {\scriptsize(0/4)}" in text


@pytest.mark.parametrize("missing", ["planned", "skipped"])
def test_a_papers_table_is_bold_only_where_all_can_be_compared(make_cell, make_frame, missing):
    """One seed beside two, still to come or not: nobody knows which of them is better."""
    text = paper(make_cell, make_frame, one=(1.0, missing, missing), two=(3.0, 2.9, missing))
    assert r"one & 1.00" in text
    assert r"{\scriptsize(1/3)}" in text
    assert r"{\scriptsize(2/3)}" in text
    assert r"\textbf" not in text


def test_what_is_bold_does_not_hang_on_the_measures_that_are_written(make_cell, make_frame, monkeypatch, capsys):
    """The initial law's distance gives lengths their unit, and its divergence says that it is one."""
    rows = []
    for label, values in {"initial": (3e-12, 2.9e-12), "far": (3e-13, 2.9e-13), "near": (1e-13, 1.1e-13)}.items():
        for seed, value in enumerate(values):
            figures = [(1.0, "w2", value, 0.0, 0.0), (1.0, "symkl", 1.0 if label == "initial" else 0.0, 0.0, 0.0)]
            rows += make_cell("well", "{}", label, {}, label, 1, seed, figures, decides=1)
    frame = make_frame(rows)
    for format, bold in (("latex", [r"near & \textbf{"]), ("markdown", [])):
        tables.export(frame, format)
        whole = capsys.readouterr().out
        tables.export(frame, format, metrics=["w2"])
        one = capsys.readouterr().out
        assert "symkl" not in one
        assert all(text in one for text in bold)
        assert {line for line in one.splitlines() if "near" in line or "far" in line} <= set(whole.splitlines())


def test_terminal_takes_labels_literally(nasty):
    assert "a|b_c % [red]x[/red] \\ <i>" in printed(nasty)


def test_only_the_measures_asked_for(realistic):
    text = printed(realistic, ["accuracy"])
    assert "accuracy (higher is better)" in text
    assert "symkl" not in text
    with pytest.raises(UsageError, match="unknown measure of this suite 'accuracies'; did you mean 'accuracy'"):
        printed(realistic, ["accuracies"])


def test_markdown(nasty):
    heading, _, columns, rule, row = tables.markdown(nasty).strip().splitlines()
    assert heading == "### well: symkl (lower is better)"
    assert columns.count("|") == rule.count("|") == 11
    assert row == (
        "| a\\|b_c % [red]x[/red] \\\\ &lt;i> | 3 | 0.5 | 0.250 | 0.1 | [0.250, 0.250] | 0.125 | – | 1/1 | 2.00 |"
    )


@pytest.mark.parametrize(
    "label", ["a*b*c", "_a_ __b__", "`a`|`b`", "~~a~~", "a_b_c=1", "[a](b)", "![a](b)", "a &amp; <b>", "\\*a\\*", "λ=1"]
)
def test_markdown_shows_a_label_as_it_is(make_cell, make_frame, label):
    figures = [(0.5, "symkl", 0.25, 0.1, 0.125)]
    frame = make_frame(make_cell("well", "{}", "s", {}, label, 3, 0, figures, solve_seconds=2.0))
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(tables.markdown(frame))
    first = parsed[next(place for place, token in enumerate(parsed) if token.type == "td_open") + 1]
    assert {token.type for token in first.children} == {"text"}
    assert "".join(token.content for token in first.children) == label


def test_latex_has_signs_and_greek_as_mathematics(make_cell, make_frame):
    label = "λ=1 Δt≥10⁻² ∞ × ½ x₀ Ωε β"
    frame = make_frame(make_cell("well", "{}", "s", {}, label, 3, 0, [(0.5, "symkl", 0.25, 0.1, 0.125)]))
    line = next(each for each in latex(frame).splitlines() if "lambda" in each)
    assert line.startswith(
        r"$\lambda$=1 $\Delta$t$\ge$10$^-$$^2$ $\infty$ $\times$ $\frac12$ x$_0$ $\Omega$$\varepsilon$ $\beta$ &"
    )
    greek = [chr(code) for code in (*range(0x391, 0x3AA), *range(0x3B1, 0x3CA)) if code != 0x3A2]
    assert all(escaped(letter).isascii() for letter in greek)


def test_latex_escapes(nasty):
    text = tables.latex(nasty)
    assert r"a|b\_c \% {[}red{]}x{[}/red{]} \textbackslash{} \textless{}i\textgreater{} & 0.250" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_csv_keeps_every_row_and_digit(realistic, tmp_path, capsys):
    path = tmp_path / "figures.csv"
    tables.export(realistic, "csv", path)
    back = pd.read_csv(path)
    assert len(back) == len(realistic)
    pd.testing.assert_series_equal(back["value"], realistic["value"], check_exact=True)
    assert (back["status"] == realistic["status"]).all()
    tables.export(realistic, "csv")
    assert capsys.readouterr().out == path.read_text()


def test_parquet_round_trip(realistic, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "figures.parquet"
    tables.export(realistic, "parquet", path)
    pd.testing.assert_series_equal(pd.read_parquet(path)["value"], realistic["value"])


def test_parquet_without_pyarrow_names_the_extra(realistic, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'wgfbench\[parquet\]'"):
        tables.export(realistic, "parquet", tmp_path / "figures.parquet")


def test_what_cannot_be_written(realistic, tmp_path):
    with pytest.raises(UsageError, match="unknown format 'tex'"):
        tables.export(realistic, "tex", tmp_path / "x")
    with pytest.raises(UsageError, match="name the file"):
        tables.export(realistic, "parquet")
    with pytest.raises(UsageError, match="cannot be written"):
        tables.export(realistic, "csv", tmp_path)
    tables.export(realistic, "csv", tmp_path / "new" / "x.csv")
    assert (tmp_path / "new" / "x.csv").exists()
