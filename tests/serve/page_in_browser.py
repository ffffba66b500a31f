"""The page in a real browser: every card, both languages, the keyboard, a phone, and nothing from outside.

`test_page.py` runs these in a process of their own.
"""

import contextlib
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

import nlptasks
from nlptasks.applications.classification.predicting import Classification
from nlptasks.applications.filling.filler import Candidate, FilledMask
from nlptasks.applications.reading import picture
from nlptasks.applications.reading.reader import Answer, Evidence
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.serve.app import make_app
from nlptasks.serve.services import service_of
from nlptasks.text.entities import Entity
from tests.serve.browser import launched
from tests.serve.cases import options
from tests.serve.test_app import Writer

KEY = "open sesame"


class Opinions:
    task, labels, pair, multi_label, seq_length = "text_classification", ("good", "<b>bad</b>"), False, False, 16

    def predict(self, texts):
        return [Classification(("good",), {"good": 0.75, "<b>bad</b>": 0.25})] * len(texts)


class Names:
    task, types, seq_length = "sequence_labeling", ("name", "place"), 16

    def predict(self, texts):
        start = texts[0].find("沈月")
        return [[Entity(start, start + 2, "name", "沈月")]] * len(texts)


class Answers:
    task, method, lengths = "reading_comprehension", "seq2seq", ReadingLengths()

    def predict(self, questions, mode="extractive", beam_size=1):
        return [Answer("1921年", -0.1, (Evidence(0, 0, 0.54, 5, 10),))] * len(questions)


class Masks:
    mask_id = 4
    model = SimpleNamespace(config=SimpleNamespace(position_reach=32))

    class tokenizer:
        id_to_token = staticmethod(lambda token_id: "<mask>")

    def predict(self, texts, top):
        at = texts[0].find("<mask>")
        return [[FilledMask(at, at + 6, (Candidate("真", 0.6), Candidate("很", 0.3)))]] * len(texts)


@contextlib.contextmanager
def served(services, key=None):
    """The address of a server in a thread."""
    config = uvicorn.Config(make_app(services, options(), key), port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def address():
    models = {"words": nlptasks.load("segmenter"), "similar": nlptasks.load("similarity"), "opinions": Opinions()}
    models |= {"names": Names(), "answers": Answers(), "writer": Writer(), "masks": Masks()}
    with pytest.MonkeyPatch.context() as patch:
        shades = [[0.25] * len("沈月白生于1921年。")]
        patch.setattr(picture, "answer_attention", lambda *_: shades)
        services = {name: service_of(model, options()) for name, model in models.items()}
    with served(services) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


def result(page, name):
    return page.locator(f"#card-{name} .result")


def test_every_card_is_used_in_both_languages_with_nothing_from_outside(address, browser):
    with browser.new_page(locale="zh-CN") as page:
        asked, problems = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.get_by_role("heading", name="中文分词").wait_for()
        for name in ("words", "similar", "opinions", "names", "answers", "writer", "masks"):
            page.locator(f"#card-{name} button.main").click()
            result(page, name).locator(":scope > *").first.wait_for(state="attached")
        assert result(page, "words").locator(".word").all_inner_texts()[:4] == ["今天", "天气", "很", "好"]
        page.locator("#card-words .chip", has_text="pku").click()
        assert result(page, "similar").locator(".bar").first.inner_text().startswith("怎样修改密码")
        assert (
            result(page, "opinions").locator(".bar").nth(1).inner_text().startswith("<b>bad</b>")
        )  # text, and no code
        assert result(page, "names").locator(".entity").inner_text().replace("\n", "") == "沈月name"
        assert result(page, "answers").locator("mark").inner_text() == "1921年"
        assert result(page, "answers").locator(".silent").count() == 1
        page.locator("#card-answers input[name=shade]").check()
        page.locator("#card-answers button.main").click()
        shaded = result(page, "answers").locator("span[title='0.2500']")
        shaded.first.wait_for()
        assert "".join(shaded.all_inner_texts()) == "沈月白生于1921年。"
        assert result(page, "answers").locator("mark").inner_text() == "1921年"
        page.locator("#card-answers summary").click()
        page.locator("#card-answers svg.mask").wait_for()
        # UNILM, 8 positions of a source and 4 of a target: the source sees itself, the target what is before it, too
        assert page.locator("#card-answers svg.mask rect.sees").count() == 8 * 8 + sum(range(9, 13))
        page.locator("#card-writer .result .took span").first.wait_for()
        assert result(page, "writer").locator(".written").inner_text() == "None1"
        assert result(page, "masks").locator("mark").inner_text() == "真"
        page.get_by_role("button", name="English").click()
        page.get_by_role("heading", name="Chinese word segmentation").wait_for()
        assert page.locator("html").get_attribute("lang") == "en"
        assert result(page, "words").locator(".took").inner_text().endswith("words")
        page.goto(address + "docs")
        page.get_by_text("POST /v1/words/segment").wait_for()
        assert {url.split("/")[2] for url in asked} == {address.split("/")[2]}
        assert problems == []


def test_a_phone_and_a_keyboard_are_enough(address, browser):
    with browser.new_page(locale="zh-CN", viewport={"width": 360, "height": 740}, has_touch=True) as page:
        page.goto(address)
        page.locator("#card-masks").wait_for()
        page.locator("#card-words button.main").click()
        result(page, "words").locator(".word").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.locator("#card-words button.main").bounding_box()["height"] >= 38
        page.locator("#card-words textarea").focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("沈月住在南山")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "运行"
        page.keyboard.press("Enter")
        result(page, "words").get_by_text("沈月").first.wait_for()
        assert page.locator("#card-words input:checked").get_attribute("value") == "weibo"


def test_the_page_asks_for_the_key_that_the_server_wants(browser):
    services = {"words": service_of(nlptasks.load("segmenter"), options())}
    with served(services, KEY) as url, browser.new_page(locale="zh-CN") as page:
        page.goto(url)
        page.get_by_text("密钥不对，或缺少密钥。").wait_for()
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        page.locator("#card-words button.main").click()
        result(page, "words").locator(".word").first.wait_for()
