"""A headless Chromium without a network, and what tests of the page ask of it."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver on the PATH"),
]
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1000",
)
PATIENCE = 60


def started(profile):
    """Return the driver of a Chromium that is offline and keeps its profile in the folder ``profile``."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    return driver


def marked(browser, name):
    """Wait for the page to say that a part of it is ready; return the milliseconds since navigation."""
    script = f"return performance.getEntriesByName('{name}')[0]?.startTime"
    return WebDriverWait(browser, PATIENCE).until(lambda driver: driver.execute_script(script))


def open_page(browser, path):
    """Open the page at ``path``, and return the milliseconds until it can be used."""
    browser.get(path.as_uri())
    return marked(browser, "interactive")


def silent(browser):
    """Say whether the page has logged no warning and no error."""
    return [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def in_view(browser, kind):
    """Scroll to the details of this kind, and return their element once they are drawn."""
    box = browser.find_element(By.CSS_SELECTOR, f".detail.{kind}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    ready = "canvas[role=img][aria-label]" if kind == "planes" else ".js-plotly-plot .main-svg"
    WebDriverWait(browser, PATIENCE).until(lambda driver: box.find_elements(By.CSS_SELECTOR, ready))
    return box


def column(browser, number):
    """Return the texts of a column of the table of cells."""
    script = (
        f"return Array.from(document.querySelectorAll('#cells tbody tr'), row => row.children[{number}].textContent)"
    )
    return [text.strip() for text in browser.execute_script(script)]


def header(browser, name):
    """Return the button that the table of cells has for a column's name."""
    return next(
        button for button in browser.find_elements(By.CSS_SELECTOR, "#cells thead button") if button.text == name
    )
