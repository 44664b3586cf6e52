import matplotlib
import numpy as np
import pytest

from harness.report import figures
from harness.report.palette import colours


@pytest.fixture(scope="module")
def small(make_realistic):
    frame = make_realistic((2, 6), 3)
    return frame[frame["metric"].isna() | frame["metric"].isin(["symkl-published", "accuracy"])]


@pytest.fixture(scope="module")
def drawn(small):
    return dict(figures.draw(small))


def lines(figure, label):
    return [line for axes in figure.axes for line in axes.get_lines() if line.get_label() == label]


def test_files_and_settings(small, tmp_path):
    before = dict(matplotlib.rcParams)
    paths = figures.write_figures(small[small["problem"] == "logistic-regression"], tmp_path / "figures")
    assert [path.name for path in paths] == [
        "logistic-regression-data-breast-cancer-accuracy-vs-seconds.png",
        "logistic-regression-data-breast-cancer-accuracy-vs-seconds.pdf",
    ]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert dict(matplotlib.rcParams) == before


def test_lines_are_medians(small, drawn):
    figure = drawn["ornstein-uhlenbeck-instance-mokrov2021-symkl-published-vs-dimension"]
    first, _ = lines(figure, "euler-maruyama particles=1000")
    here = small[(small["label"] == "euler-maruyama particles=1000") & (small["t"] == 0.5) & (small["value"].notna())]
    expected = here.groupby("size")["value"].median()
    np.testing.assert_array_equal(first.get_xdata(), expected.index)
    np.testing.assert_allclose(first.get_ydata(), expected)
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}


def test_floors_and_published_figures_are_there(drawn):
    figure = drawn["ornstein-uhlenbeck-instance-mokrov2021-symkl-published-vs-dimension"]
    assert len(lines(figure, "floor, 1000 particles")) == 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "the same solvers, published (Mokrov et al. 2021)" in names
    assert "proximal-recursion particles=400, published (Mokrov et al. 2021)" in names
    assert not any(name.startswith("oracle") for name in names)


def test_what_is_infinite_is_named_and_all_else_drawn(small, tmp_path):
    """A figure that was infinite for every solver, or at one time, or in the gap to exact draws, ended the command."""
    here = small[(small["problem"] == "ornstein-uhlenbeck") & (small["size"] == 2)].copy()
    early = here["t"] == 0.5
    here.loc[early & (here["solver"] != "oracle") & here["value"].notna(), "value"] = np.inf
    assert figures.write_figures(here, tmp_path / "early")
    figure = dict(figures.draw(here))["ornstein-uhlenbeck-instance-mokrov2021-symkl-published-vs-seconds"]
    first, second = figure.axes
    assert {text.get_text() for text in second.texts} == set()
    (text,) = first.texts
    assert set(text.get_text().splitlines()) == {"infinite:", *here.loc[np.isinf(here["value"]), "label"]}
    here.loc[(here["solver"] != "oracle") & here["value"].notna(), "value"] = np.inf
    assert not dict(figures.draw(here))
    figures.write_figures(here, tmp_path / "both")


def test_colours_tell_settings_apart():
    found = colours({"a n=1": "a", "a n=2": "a", "b": "b", "oracle": "oracle"})
    assert len(set(found.values())) == 4
    assert found == colours({"oracle": "oracle", "a n=1": "a", "a n=2": "a", "b": "b"})
