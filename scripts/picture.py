"""Make ``docs/report.png``: the top of the page that ``make demo`` writes, from a commit without changes.

    python scripts/picture.py

The suite ``demo`` runs one cell at a time into a store of its own, so that its seconds are fair; headless Chromium, on
the PATH, draws the page. Nothing is written from a working tree with changes: the page names the commit it is from.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.provenance import code_state

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "report.png"
WIDTH, HEIGHT = 1240, 1072
PATIENCE = 60


def main() -> None:
    """Run the suite, write its page and draw it; exits with one line where there are changes or no Chromium."""
    commit, dirty = code_state()
    if dirty or commit == "unknown":
        sys.exit("picture: the page names the commit it is from: commit the changes first")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("picture: needs chromium or google-chrome on the PATH")
    wgfbench = Path(sys.executable).with_name("wgfbench")
    with tempfile.TemporaryDirectory() as folder:
        store, page, drawn = Path(folder, "demo.sqlite"), Path(folder, "demo.html"), Path(folder, "report.png")
        subprocess.run([wgfbench, "run", "demo", "--timing", "--store", store], check=True)
        subprocess.run([wgfbench, "report", "demo", "--store", store, "-o", page], check=True)
        subprocess.run(
            [
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--virtual-time-budget={PATIENCE * 1000}",
                f"--screenshot={drawn}",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,  # it grumbles about a desktop that is not there
        )
        shutil.copyfile(drawn, PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
