import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from harness.report import page, summary
from harness.report.contents import failures, problem_tables
from harness.report.plots import numbers

ADDRESS = re.compile(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", re.IGNORECASE)
NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1999/xlink",
              "http://www.w3.org/2000/xmlns/", "http://www.w3.org/XML/1998/namespace")  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, and the text of everything but scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.scripts, self.open = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.open = tag

    def handle_endtag(self, tag):
        if tag == self.open:
            self.open = None

    def handle_data(self, data):
        if self.open is None:
            self.texts.append(data)
        elif self.open == "script":
            self.scripts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def text(realistic):
    return page.page(realistic, "A title with <b> & more", "What was asked")


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def test_no_address_outside(text, read):
    rest = text
    for namespace in NAMESPACES:
        rest = rest.replace(namespace, "")
    assert re.findall(r"https?://\S{0,60}", rest) == []
    assert not re.search(r"""["'`(]//[\w-]+\.[a-z]{2,}/""", rest)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "@import" not in text
    assert "url(" not in text.partition("</style>")[0]


def test_policy_forbids_loading(read):
    policy = next(attributes["content"] for tag, attributes in read.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy


def test_addresses_are_found_and_namespaces_kept():
    assert page.without_addresses('a="https://x.org/y",b="http://www.w3.org/2000/svg"//c http://z.de') == (
        'a="offline:x.org/y",b="http://www.w3.org/2000/svg"//c offline:z.de'
    )
    assert page.without_addresses("http://www.w3.org/elsewhere") == "offline:www.w3.org/elsewhere"


def test_links_lead_somewhere(read):
    targets = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in read.tags if tag == "a"}
    assert links <= targets


def test_everything_printed_is_escaped(text, read):
    assert "<script>alert('reason')" not in text
    assert "<script>alert('reason')</script> & the potential is not quadratic" in read.text
    assert "A title with <b> & more" in read.text


def test_data_cannot_leave_their_script(realistic, make_cell, make_frame):
    label = "</script><script>alert(1)</script><!--"
    figures = [(0.5, "symkl", 0.25, 0.1, 0.1)]
    frame = make_frame(
        make_cell("well", json.dumps({"note": label}), "s", {}, label, 3, 0, figures, solve_seconds=1.0, rerun=label)
    )
    read = Reader(page.page(frame, label, label))
    assert len(read.scripts) == 5
    assert sum(tag == "script" for tag, _ in read.tags) == 5
    plots = json.loads(read.scripts[0])
    assert plots[0]["labels"] == [label]
    assert json.loads(read.scripts[1])["commands"] == [label]


def test_failures_with_reason_traceback_and_command(realistic, read):
    bad = realistic[~realistic["status"].isin(["ok"])]
    for column in ("reason", "rerun"):
        for value in bad[column].dropna().unique():
            assert value in read.text
    assert 'File "solve.py", line 3, in <module>' in read.text
    assert "12/15 ok, diverged 3" in read.text
    assert "0/5 ok, error 5" in read.text


def test_runs_of_one_reason_stand_together(realistic):
    found = failures(summary.cells(realistic))
    assert sum(len(entry["runs"]) for entry in found) == (summary.cells(realistic)["status"] != "ok").sum()
    assert [entry["failed"] for entry in found] == sorted((entry["failed"] for entry in found), reverse=True)
    error = next(entry for entry in found if entry["status"] == "error")
    assert [run["seed"] for run in error["runs"]] == [0, 1, 2, 3, 4]


def test_counts_by_status(realistic, read):
    for status, count in summary.cells(realistic)["status"].value_counts().items():
        assert f"{status} {count}" in read.text


def test_every_run_is_in_the_page_without_scripts(realistic, read):
    for key in realistic["key"].unique():
        assert key[:12] in read.text


def test_provenance(realistic, read):
    cell = realistic.iloc[0]
    for expected in (cell["commit"], cell["argv"], cell["machine"], "uncommitted changes", "torch 2.13.0"):
        assert expected in read.text
    assert "2025-03-14 09:26 UTC" in read.text


def test_table_figures(realistic, read):
    rows = summary.summarise(realistic)
    row = rows[(rows["label"] == "euler-maruyama particles=1000") & (rows["metric"] == "symkl-published")].iloc[0]
    title = "ornstein-uhlenbeck · instance=mokrov2021"
    ours = rows[rows["problem_settings"] == row["problem_settings"]]
    table = next(
        table
        for table in problem_tables(ours, ours.iloc[:0], title, "x")["tables"]
        if table["metric"] == "symkl-published"
    )
    line = next(line for line in table["groups"][0]["lines"] if line["label"] == row["label"])
    cell = line["cells"][0]
    assert cell["median"] == summary.significant(row["median"])
    assert cell["floor"] == summary.significant(row["floor"])
    assert cell["published"] == "0.0609"
    assert (
        f"{cell['median']} {cell['error']} {cell['range']} floor {cell['floor']} publ. {cell['published']}"
        in read.text.replace("floor", " floor").replace("publ.", " publ.").replace("[", " [").replace("  ", " ")
    )


def test_tables_are_accessible(read):
    tables = sum(tag == "table" for tag, _ in read.tags)
    assert sum(tag == "caption" for tag, _ in read.tags) == tables
    assert all(attributes.get("scope") for tag, attributes in read.tags if tag == "th")


def test_who_leads_is_told_by_the_verdict(make_cell, make_frame):
    def cells(label, values):
        return [
            row
            for seed, value in enumerate(values)
            for row in make_cell(
                "well", "{}", label, {}, label, 1, seed, [(1.0, "symkl", value, 0.0, 0.0)], solve_seconds=1
            )
        ]

    def leads(frame):
        rows = summary.summarise(frame.assign(value=frame["value"].astype(float)))
        (table,) = problem_tables(rows, rows.iloc[:0], "well", "x")["tables"]
        return {line["label"]: line["cells"][0]["leads"] for line in table["groups"][0]["lines"]}

    frame = make_frame(cells("best", [1, 2, 3]) + cells("near", [1.2, 1.9, 3.2]) + cells("far", [5, 9, 16]))
    assert leads(frame) == {"best": True, "near": True, "far": False}
    # one seed tells nothing, nor does a kernel density
    assert not any(leads(frame[frame["seed"] == 0]).values())
    assert not any(leads(frame.assign(estimator="Scott KDE by quadrature on 64 cells")).values())


def test_nothing_has_run_yet(realistic):
    planned = realistic.drop_duplicates("key").assign(
        status="planned", metric=None, t=np.nan, value=np.nan, run=np.nan, started=None, finished=None, commit=None,
        machine=None, threads=np.nan, versions=None, wall_seconds=np.nan, beside=np.nan, reason=None, traceback=None,
    )  # fmt: skip
    read = Reader(page.page(planned))
    count = planned["key"].nunique()
    assert "No cell has run yet" in read.text
    assert f"{count} planned cells have not run yet" in read.text
    assert f"{count} cells, none failed, {count} still to run" in read.text


def test_empty_frame(realistic):
    with pytest.raises(ValueError, match="nothing was planned"):
        page.page(realistic.iloc[:0])


def test_numbers_for_json():
    assert numbers([0.1 + 0.2, 123456.7, np.nan, np.inf, 0.0, -2.5e-9, 1e300]) == [
        0.3, 123460, None, None, 0, -2.5e-9, 1e300,
    ]  # fmt: skip


def test_report_imports_no_torch():
    modules = "harness.report.page, harness.report.figures, harness.report.tables"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
