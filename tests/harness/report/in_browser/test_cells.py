"""The table of cells: sorting, filtering, unfolding, and text that stays text."""

import pytest

from harness.report.page import write_page

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from browsing import IN_BROWSER, PATIENCE, column, header, open_page, silent

pytestmark = IN_BROWSER


def test_sort(opened, realistic):
    header(opened, "Solve s").click()
    values = column(opened, 6)
    assert len(values) == realistic["key"].nunique()
    known = [float(value) for value in values if value != "–"]
    assert known == sorted(known)
    assert values[len(known) :] == ["–"] * (len(values) - len(known))
    head = opened.find_elements(By.CSS_SELECTOR, "#cells thead th")[6]
    assert head.get_attribute("aria-sort") == "ascending"
    header(opened, "Solve s").click()
    values = column(opened, 6)
    known = [float(value) for value in values if value != "–"]
    assert known == sorted(known, reverse=True)
    assert values[-1] == "–"
    assert head.get_attribute("aria-sort") == "descending"
    header(opened, "Solver").click()
    solvers = column(opened, 0)
    assert list(dict.fromkeys(solvers))[1:5] == [
        "dual-jko",
        "euler-maruyama particles=1000",
        "euler-maruyama particles=10000",
        "euler-maruyama particles=50000",
    ]
    assert len(set(column(opened, 9))) == realistic["key"].nunique()


def test_filter(opened, realistic):
    field = opened.find_element(By.ID, "filter")
    output = opened.find_element(By.ID, "shown")
    total = realistic["key"].nunique()
    field.send_keys("maruyama 50000 diverged")
    WebDriverWait(opened, PATIENCE).until(lambda driver: output.text == f"3 of {total} runs")
    assert set(column(opened, 4)) == {"diverged"}
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE)
    WebDriverWait(opened, PATIENCE).until(lambda driver: output.text == f"{total} runs")
    Select(opened.find_element(By.ID, "status")).select_by_value("error")
    assert column(opened, 4) == ["error"] * 5
    Select(opened.find_element(By.ID, "problem")).select_by_value("ornstein-uhlenbeck")
    assert column(opened, 4) == []
    assert output.text == f"0 of {total} runs"


def test_row_unfolds_figures_and_command(opened, realistic):
    opened.find_element(By.ID, "filter").send_keys("maruyama")
    Select(opened.find_element(By.ID, "status")).select_by_value("ok")
    header(opened, "Peak MB").click()
    row = opened.find_element(By.CSS_SELECTOR, "#cells tbody tr")
    key = row.find_elements(By.TAG_NAME, "td")[-1].text
    own = realistic[realistic["key"].str.startswith(key)]
    row.click()
    unfolded = opened.find_element(By.CSS_SELECTOR, "tr.unfolded")
    assert unfolded.find_element(By.TAG_NAME, "code").text == own["rerun"].iloc[0]
    lines = opened.find_elements(By.CSS_SELECTOR, "tr.unfolded table > tbody > tr")
    assert len(lines) == len(own)
    assert own["metric"].iloc[0] in lines[0].text
    assert float(lines[0].text.split()[2]) == pytest.approx(own["value"].iloc[0], rel=1e-3)
    row.send_keys(Keys.ENTER)
    assert not opened.find_elements(By.CSS_SELECTOR, "tr.unfolded")
    row.send_keys(Keys.ARROW_DOWN)
    focused = opened.switch_to.active_element
    focused.send_keys(Keys.ENTER)
    assert opened.find_element(By.CSS_SELECTOR, "tr.unfolded").find_element(By.TAG_NAME, "code").text


def test_labels_with_markup_stay_text(browser, make_cell, make_frame, tmp_path):
    label = "<img src=x onerror=document.title='broken'></script><script>document.title='broken'</script>"
    rows = []
    for size in (1, 2):
        figures = [(0.5, "symkl", 0.25 * size, 0.1, 0.1), (0.9, "symkl", 0.2, 0.1, 0.1)]
        rows += make_cell("well", "{}", "s", {}, label, size, 0, figures, solve_seconds=1.0, rerun=label)
        rows += make_cell("well", "{}", "s", {}, label, size, 1, [], "error", label, traceback=label)
    open_page(browser, write_page(make_frame(rows), tmp_path / "markup.html", "intact"))
    browser.find_element(By.CSS_SELECTOR, "#cells tbody tr").click()
    assert browser.find_element(By.CSS_SELECTOR, "tr.unfolded code").text == label
    assert browser.find_element(By.CSS_SELECTOR, ".legend button").text == label
    assert not browser.find_elements(By.TAG_NAME, "img")
    assert browser.title == "intact"
    assert silent(browser)
