"""Where a Chromium is; `python -m tests.report.chromium` says what to install."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "No browser for the tests of the report: install Chromium (Debian: apt-get install "
    "chromium), or set CHROMIUM to the path of one."
)
# Nothing that calls out, and no sandbox, which containers lack.
FLAGS = (
    "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic",
)  # fmt: skip


def path() -> str | None:
    """Returns the path of the browser; None where there is none."""
    asked = os.environ.get("CHROMIUM")
    return (
        shutil.which(asked)
        if asked
        else next(filter(None, map(shutil.which, NAMES)), None)
    )


if __name__ == "__main__":
    sys.exit(None if path() else MISSING)
