"""The page as a whole: nothing is fetched, nothing overlaps, it opens fast."""

import time

import pytest

from harness.report.page import write_page

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from browsing import IN_BROWSER, column, header, in_view, open_page, silent

pytestmark = IN_BROWSER


def test_nothing_is_requested_but_the_file(opened):
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_overlaps_and_tables_say_that_they_scroll(browser, path, scheme, width):
    """The verdict comes first; what is wider than its place scrolls there, with a shadow where it goes on."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        open_page(browser, path)
        in_view(browser, "work")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script("return document.querySelector('main section').id") == "verdict"
        assert overlaps(browser, "#verdict .scroll .figures") == []
        assert overlaps(browser, ".problem .scroll .figures") == []
        box = browser.find_element(By.CSS_SELECTOR, "#verdict .scroll")
        script = (
            "const box = arguments[0];return [box.scrollWidth > box.clientWidth, getComputedStyle(box).backgroundImage]"
        )
        scrolls, shadow = browser.execute_script(script, box)
        assert scrolls or width > 420
        assert "gradient" in shadow
        assert silent(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def overlaps(browser, table):
    """Return the texts of cells whose text goes beyond the cell."""
    script = """
        return Array.from(document.querySelectorAll(arguments[0] + ' :is(th, td)')).filter((cell) => {
          const range = document.createRange();
          range.selectNodeContents(cell);
          const [text, own] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
          return text.width > 0 && (text.left < own.left - 1 || text.right > own.right + 1);
        }).map((cell) => cell.textContent);
    """
    return browser.execute_script(script, table)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_is_not_wider_than_its_window(browser, over_time, scheme):
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        open_page(browser, over_time)
        boxes = [in_view(browser, kind) for kind in ("densities", "planes", "energy")]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 420
        columns = "return new Set(arguments[0].querySelector('.plot').data.map(t => t.xaxis)).size"
        assert browser.execute_script(columns, boxes[0]) == 3
        domains = "return ['xaxis', 'xaxis2'].map(n => arguments[0].querySelector('.plot')._fullLayout[n].domain)"
        assert browser.execute_script(domains, boxes[0]) == [[0, 1], [0, 1]]
        corner = (
            "const context = arguments[0].querySelector('tbody canvas').getContext('2d');"
            "return Array.from(context.getImageData(8, 8, 1, 1).data)"
        )
        corner_lightness = sum(browser.execute_script(corner, boxes[1])[:3]) / 765
        assert (corner_lightness > 0.9) == (scheme == "light")
        assert silent(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_tables_without_scripts(browser, path):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(path.as_uri())
        table = browser.find_element(By.CSS_SELECTOR, ".figures")
        assert "euler-maruyama particles=1000" in table.text
        assert "need JavaScript" in browser.find_element(By.TAG_NAME, "noscript").text
        assert not browser.find_element(By.ID, "filter").is_displayed()
        assert "diverged" in browser.find_element(By.ID, "failures").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_fifty_thousand_runs(browser, large, tmp_path, record_property):
    path = write_page(large, tmp_path / "large.html")
    size = path.stat().st_size
    assert size < 25_000_000
    interactive = open_page(browser, path)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#cells tbody tr:first-child")) == 500
    assert browser.execute_script("return document.querySelectorAll('#cells tbody tr').length") == 50_000
    started = time.perf_counter()
    header(browser, "Figure").click()
    sorted_after = time.perf_counter() - started
    values = [float(value) for value in column(browser, 5) if value != "–"]
    assert values == sorted(values)
    started = time.perf_counter()
    Select(browser.find_element(By.ID, "status")).select_by_value("error")
    filtered_after = time.perf_counter() - started
    failed = large.loc[large["status"] == "error", "key"].nunique()
    assert browser.find_element(By.ID, "shown").text == f"{failed:,} of 50,000 runs"
    assert silent(browser)
    record_property("megabytes", size / 1e6)
    record_property("milliseconds to interactive", interactive)
    record_property("seconds to sort and to filter", (sorted_after, filtered_after))
