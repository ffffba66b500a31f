"""The page in a real browser, in a process of its own.

The driver of the browser switches stacks under the interpreter (greenlet). In a worker whose other tests had left
threads of TensorFlow and PyTorch behind, that seems to have ended the worker once.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.browser import MISSING, chromium

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")
pytest.importorskip("playwright", reason="the page is tested through playwright")

pytestmark = [pytest.mark.once, pytest.mark.skipif(chromium() is None, reason=MISSING)]


def test_the_page_works_in_a_browser():
    tests = Path(__file__).with_name("page_in_browser.py")
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts="]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tests)],
        capture_output=True, text=True, encoding="utf-8", timeout=500, env=alone, cwd=tests.parents[2],
    )  # fmt: skip
    assert (ran.returncode, "3 passed" in ran.stdout) == (0, True), ran.stdout[-8000:] + ran.stderr[-2000:]
