"""Draws, densities, steps and energies, which are drawn when they are seen."""

import numpy as np
import pandas as pd
import pytest

from harness.report.page import write_page
from seeding import numpy_generator

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from browsing import IN_BROWSER, PATIENCE, in_view, open_page, silent

pytestmark = IN_BROWSER


def test_draws_densities_and_steps(browser, make_cell, make_frame, tmp_path):
    """Draws beside exact ones and cost over the steps are drawn when they are seen, and follow the choices."""
    common = {"suite": "s", "preset": "", "problem": "well", "problem_settings": "{}", "seed": 0, "device": "cpu"}
    label = "jko <i>&</i>"
    rows, draws, steps = [], [], []
    for size in (2, 13):
        for place, (solver, name) in enumerate((("oracle", "oracle"), ("jko", label), ("initial", "initial"))):
            rows += make_cell("well", "{}", solver, {}, name, size, 0, [(1.0, "symkl", 0.1, 0, 0.1)], solve_seconds=1.0)
            base = common | {
                "key": f"{name}{size}",
                "solver": solver,
                "solver_settings": "{}",
                "label": name,
                "size": size,
            }
            points = numpy_generator(place).standard_normal((30, 2)) + 10 * place
            draws += [base | {"t": t, "share": 0.5, "points": points + t} for t in (0.5, 1.0)]
            if solver == "jko":
                steps += [
                    base | {"along": "steps", "name": what, "step": k, "value": size * scale}
                    for what, scale in (("seconds", 0.1), ("iterations", 500.0))
                    for k in range(1, 11)
                ]
    x = np.linspace(-1, 1, 21)
    for solver, name, height in (("oracle", "oracle", 1.0), ("jko", label, 0.5)):
        base = common | {"key": f"{name}1", "solver": solver, "solver_settings": "{}", "label": name, "size": 1}
        draws += [base | {"t": t, "share": 1.0, "points": np.stack([x, height * t * x**2], 1)} for t in (0.5, 1.0)]
    path = tmp_path / "detail.html"
    write_page(make_frame(rows), path, traces=pd.DataFrame(steps), projections=pd.DataFrame(draws))
    open_page(browser, path)

    def drawn(kind, plot):
        box = browser.find_element(By.CSS_SELECTOR, f".detail.{kind}")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
        script = (
            f"return document.querySelector('.detail.{kind} {plot}').data?.map(trace => [trace.name, trace.x, trace.y])"
        )
        return WebDriverWait(browser, PATIENCE).until(lambda driver: driver.execute_script(script))

    def choose(kind, number, text):
        selects = browser.find_elements(By.CSS_SELECTOR, f".detail.{kind} select")
        Select(selects[number]).select_by_visible_text(text)

    # The last trace is of the dots, before it the lines of the exact draws' density.
    fit = drawn("draws", ".fit")[-1]
    assert np.mean(fit[1]) == pytest.approx(11, abs=0.7)
    assert np.mean(drawn("draws", ".truth")[-1][1]) == pytest.approx(1, abs=0.7)
    figure = browser.find_element(By.CSS_SELECTOR, ".detail.draws figcaption")
    assert figure.text == f"Draws of {label}. The plane of the truth's two principal axes holds 50 % of its variance."
    choose("draws", 0, "initial")
    assert np.mean(drawn("draws", ".fit")[-1][1]) == pytest.approx(21, abs=0.7)
    choose("draws", 2, "t = 0.5")
    choose("draws", 1, "D = 2")
    assert figure.text == "Draws of initial."
    assert np.mean(drawn("draws", ".fit")[-1][1]) == pytest.approx(20.5, abs=0.7)
    found = drawn("densities", ".plot")
    assert [trace[0] for trace in found] == 2 * ["exact", "jko &lt;i&gt;&amp;&lt;/i&gt;"]
    assert [trace[2][0] for trace in found] == [0.5, 0.25, 1, 0.5]
    ((name, x, y),) = drawn("steps", ".plot")
    assert name == "jko &lt;i&gt;&amp;&lt;/i&gt;"
    assert x == list(range(1, 11))
    assert y == [1.3] * 10
    choose("steps", 0, "iterations")
    choose("steps", 1, "D = 2")
    assert drawn("steps", ".plot")[0][2] == [1000] * 10
    assert silent(browser)


def test_densities_on_the_line_stand_side_by_side(browser, over_time):
    open_page(browser, over_time)
    box = in_view(browser, "densities")
    script = "return arguments[0].querySelector('.plot').data.map(t => [t.name, t.xaxis, t.line.dash, t.visible])"
    found = browser.execute_script(script, box)
    assert [trace[:2] for trace in found] == [
        [name, f"x{column}"] for column in ("", "2", "3") for name in ("exact", "em", "jko")
    ]
    assert found[1][2] != found[2][2]
    ranges = "return ['xaxis', 'xaxis2', 'xaxis3'].map(n => arguments[0].querySelector('.plot')._fullLayout[n].range)"
    assert browser.execute_script(ranges, box) == [[-4, 4]] * 3
    Select(box.find_element(By.TAG_NAME, "select")).select_by_value("own")
    assert browser.execute_script(ranges, box) == [[-1, 1], [-2, 2], [-4, 4]]
    box.find_elements(By.CSS_SELECTOR, ".legend button")[2].click()
    assert [trace[0] for trace in browser.execute_script(script, box) if not trace[3]] == ["jko"] * 3
    assert silent(browser)


def test_densities_in_the_plane_are_painted_and_read(browser, over_time):
    open_page(browser, over_time)
    box = in_view(browser, "planes")
    heads = [head.text for head in box.find_elements(By.CSS_SELECTOR, "thead th")]
    assert heads == ["", "t = 0.25", "t = 1", "t = 4"]
    names = [head.text.split("\n")[0] for head in box.find_elements(By.CSS_SELECTOR, "tbody th")]
    assert names == ["exact", "em", "jko"]
    canvases = box.find_elements(By.CSS_SELECTOR, "tbody canvas")
    assert [canvas.get_attribute("aria-label") for canvas in canvases][2:5] == [
        "exact at t = 4: highest density 0.25", "em at t = 0.25: draws", "em at t = 1: draws",
    ]  # fmt: skip
    lightness = (
        "const c = arguments[0], d = c.getContext('2d').getImageData(c.width / 2 + 3, c.height / 2, 1, 1).data;"
        "return (d[0] + d[1] + d[2]) / 765"
    )
    first, second, last = (browser.execute_script(lightness, canvas) for canvas in canvases[:3])
    assert first < second < last < 0.9

    def read(driver):
        # By an event of its own: plots that are drawn meanwhile move the panels under a pointer.
        driver.execute_script(
            "const c = arguments[0], b = c.getBoundingClientRect();"
            "c.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: b.left + b.width / 2 + 1,"
            " clientY: b.top + b.height / 2}))",
            canvases[7],
        )
        text = box.find_element(By.CSS_SELECTOR, ".reading").text
        return text if text.startswith("t = 1, x₁ = ") and "–" not in text else None

    reading = WebDriverWait(browser, PATIENCE).until(read)
    exact, fit = (float(part.split()[-1]) for part in reading.split(": ")[1].split(", "))
    assert exact == pytest.approx(1, abs=0.02)
    assert 0.95 < fit <= exact
    assert silent(browser)


def test_energies_and_their_decay(browser, over_time):
    open_page(browser, over_time)
    box = in_view(browser, "energy")
    script = "return arguments[0].querySelector('.plot').data.map(t => [t.name, t.mode, t.y])"
    found = browser.execute_script(script, box)
    assert [trace[:2] for trace in found] == [
        ["exact", "lines+markers"], ["em", "markers"], ["jko", "lines"], ["jko", "markers"],
    ]  # fmt: skip
    assert found[0][2] == [4, 1, 0.25]
    assert found[2][2] == [8, 2, 0.5]
    Select(box.find_elements(By.TAG_NAME, "select")[0]).select_by_value("decay")
    found = browser.execute_script(script, box)
    assert found[0][2] == [3.75, 0.75]
    assert found[2][2] == [7.75, 1.75, 0.25]
    axis = browser.execute_script("return arguments[0].querySelector('.plot')._fullLayout.yaxis.type", box)
    assert axis == "log"
    assert "above F = 0.25, the exact energy at the last time" in box.find_element(By.TAG_NAME, "figcaption").text
    assert silent(browser)
