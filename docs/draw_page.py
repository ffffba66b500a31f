"""Takes the pictures of the server's page for docs/serving.md: every card used, in Chinese and in English, and a phone.

    nlptasks serve --model segmenter similarity mini opinions=runs/classifier ner=runs/ner reader=runs/demo/reader \
        writer=runs/reviews --port 8000
    python docs/draw_page.py --url http://127.0.0.1:8000/

It needs chromium and Playwright.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PICTURES = (("serving_zh.png", "zh-CN", 1400), ("serving_en.png", "en", 1400), ("serving_phone.png", "zh-CN", 390))


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="of a server with the models to show")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the pictures")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for name, language, width in PICTURES:
            page = browser.new_context(locale=language, viewport={"width": width, "height": 800}).new_page()
            page.goto(given.url)
            page.locator(".card").first.wait_for()
            for box in page.locator("input[name=shade]").all():
                box.check()
            for card in page.locator(".card").all():
                card.locator("button.main").click()
                card.locator(".took").first.wait_for()
                card.locator("button.main:enabled").wait_for(timeout=120_000)
            page.screenshot(path=given.output / name, full_page=True)
            print(given.output / name)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
