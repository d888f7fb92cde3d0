"""The Chromium of this machine, which tests drive through playwright."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str | None:
    """The path of a Chromium, None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)
