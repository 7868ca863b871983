"""Finds a Chromium that starts, or installs one: Playwright's own where it can be had, else the system's package.

What was found is written to `.venv/.holdfast-browser` (a path, or nothing for Playwright's own), where the tests read
it. Runs in the environment of `scripts/setup.sh`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

CHOICE = Path(__file__).resolve().parents[1] / ".venv" / ".holdfast-browser"
SYSTEM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]


def starts(executable: str) -> bool:
    """Whether this Chromium opens a page; `""` is Playwright's own."""
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable or None, args=ARGUMENTS, timeout=60_000)
            browser.new_page().set_content("<p>ok</p>")
            browser.close()
    except Error:
        return False
    return True


def found() -> str | None:
    """A Chromium on this machine that starts."""
    candidates = ["", *(path for name in SYSTEM_NAMES if (path := shutil.which(name)))]
    return next((candidate for candidate in candidates if starts(candidate)), None)


def say(text: str) -> None:
    """Progress, beside that of the set-up script."""
    sys.stderr.write(f"\033[1m==>\033[0m {text}\n")


def run(*command: str, timeout: float = 600) -> bool:
    """Run a command, its output on stderr; False if it failed or took too long."""
    try:
        return subprocess.run(command, stdout=sys.stderr, timeout=timeout, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def as_root() -> list[str] | None:
    """The prefix of a command that needs root; None where that cannot be had without a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and run("sudo", "-n", "true", timeout=10):
        return ["sudo", "-n"]
    return None


def install() -> str | None:
    """Install one, by each way in turn, until one starts."""
    playwright = [sys.executable, "-m", "playwright"]
    say("Fetching Playwright's Chromium for the browser tests")
    fetched = run(*playwright, "install", "chromium", timeout=300)
    if fetched and starts(""):
        return ""
    root = as_root()
    if root is None or not shutil.which("apt-get"):
        return None
    if fetched:
        say("Installing the libraries that Chromium needs")
        if run(*root, *playwright, "install-deps", "chromium") and starts(""):
            return ""
    say("Installing the system's package chromium instead")
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run(*root, "apt-get", "update", "-q")
    run(*root, *env, "apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    return next((path for name in SYSTEM_NAMES if (path := shutil.which(name)) and starts(path)), None)


def main() -> int:
    """Find or install; 1, with the way out, where neither works."""
    if CHOICE.exists():
        chosen = CHOICE.read_text()
        if not chosen or Path(chosen).exists():
            return 0
    executable = found()
    if executable is None:
        executable = install()
    if executable is None:
        sys.stderr.write(
            "\033[1;31mError:\033[0m The browser tests need a Chromium, and none could be installed. "
            "Install one (on Debian: sudo apt-get install chromium), then run make again.\n"
        )
        return 1
    CHOICE.write_text(executable)
    return 0


if __name__ == "__main__":
    sys.exit(main())
