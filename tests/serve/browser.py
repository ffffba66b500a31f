"""A real browser for the page: Debian's chromium through Playwright, whose own browsers are not needed."""

import contextlib
import os
import shutil

MISSING = "the page is tested in a browser where chromium and playwright are installed, as .ci/run does"


def chromium():
    """The path of the browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def launched():
    """A browser; `browser.new_page()` speaks Chinese where it is told `locale="zh-CN"`."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*arguments, "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
