"""The paths: answers equal the direct calls, contracts hold, streams are whole, and the server tells how it is."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import random
import threading

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")

import nlptasks
from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.applications.written import GeneratedText, PartialText
from nlptasks.serve import shapes
from nlptasks.serve.app import make_app
from nlptasks.serve.services import open_services, service_of
from nlptasks.serve.shapes import FREE, SIZES, FewSizes, FewWindows, groups, rounded
from tests.applications.labeling.label_cases import classifier, entity_texts, labeler
from tests.applications.reading.test_span import TEXT, reader
from tests.serve.cases import ask, call, echo_service, log_lines, message_of, options, part, records, running
from tests.test_docstrings import examples

pytestmark = pytest.mark.once
TEXTS = [f"我们在第{i}号楼{'看书' * (i % 4)}，今天天气很好。" for i in range(40)]


@pytest.fixture(scope="module")
def light():
    return open_services(options(model=("segmenter", "similar=similarity")))


def post(path, **body):
    return "POST", path, {"json": body}


def test_many_requests_at_once_each_get_the_answer_of_the_direct_call(light):
    segmenter, encoder = nlptasks.load("segmenter"), nlptasks.load("similarity")

    async def all_at_once():
        async with running(light) as client:
            asked = []
            for i, text in enumerate(TEXTS):
                standard = ("cnc", "pku")[i % 2]
                asked.append(client.post("/v1/segmenter/segment", json={"texts": [text, "好"], "standard": standard}))
                asked.append(client.post("/v1/similar/encode", json={"texts": [text]}))
            return await asyncio.gather(*asked)

    with log_lines() as lines:
        found = asyncio.run(all_at_once())
    assert {answer.status_code for answer in found} == {200}
    for i, (text, words, vector) in enumerate(zip(TEXTS, found[::2], found[1::2], strict=True)):
        assert words.json()["results"][0]["words"] == segmenter.segment(text, ("cnc", "pku")[i % 2])
        np.testing.assert_allclose(vector.json()["vectors"][0], encoder.encode([text])[0], atol=1e-5)
    noted = records(lines)
    assert len(noted) == len(found)
    assert max(record["batch"] for record in noted) > 8
    assert not any(text in line for text in TEXTS for line in lines)  # sizes and times, and no text
    assert {record["verb"] for record in noted} == {"segment", "encode"}
    assert {"id", "status", "ms", "queue_ms", "compute_ms", "items"} <= noted[0].keys()


def test_the_most_similar_come_first_with_their_cosines(light):
    encoder, texts = nlptasks.load("similarity"), ["今天会下雨吗", "怎样修改密码", "快递几天能到"]
    [found] = ask(light, post("/v1/similar/rank", query="密码怎么改", texts=texts, top=2))
    matches = found.json()["matches"]
    assert [match["position"] for match in matches] == [1, 0] or matches[0]["position"] == 1
    for match in matches:
        assert match["text"] == texts[match["position"]]
        assert match["score"] == pytest.approx(encoder.similarity("密码怎么改", match["text"]), abs=1e-5)


def test_embeddings_come_as_the_clients_of_openai_read_them(light):
    vectors = nlptasks.load("similarity").encode(TEXTS[:2])
    plain, packed, one, unknown, size = ask(
        light,
        post("/v1/embeddings", model="similar", input=TEXTS[:2]),
        post("/v1/embeddings", model="similar", input=TEXTS[:2], encoding_format="base64"),
        post("/v1/embeddings", model="similar", input=TEXTS[0], dimensions=256, user="me"),
        post("/v1/embeddings", model="segmenter", input="好"),
        post("/v1/embeddings", model="similar", input="好", dimensions=9),
    )
    found = plain.json()
    assert (found["object"], found["model"], found["usage"]["total_tokens"]) == (
        "list",
        "similar",
        sum(map(len, TEXTS[:2])),
    )
    assert [(row["object"], row["index"]) for row in found["data"]] == [("embedding", 0), ("embedding", 1)]
    np.testing.assert_allclose([row["embedding"] for row in found["data"]], vectors, atol=1e-6)
    unpacked = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in packed.json()["data"]]
    np.testing.assert_allclose(unpacked, vectors, atol=1e-6)
    np.testing.assert_allclose(one.json()["data"][0]["embedding"], vectors[0], atol=1e-6)
    assert (unknown.status_code, "similar" in message_of(unknown)) == (404, True)
    assert (size.status_code, message_of(size)) == (422, "dimensions: this model gives 256 numbers a text.")


def test_a_network_gives_what_it_gives_directly_alone_and_joined():
    model, read = classifier(), reader()
    services = {"opinions": service_of(model, options()), "reader": service_of(read, options())}
    texts, asked = ["菜很好吃", "房间很脏", "很好"], [("谁", [TEXT, TEXT[:6]]), ("哪", [TEXT[3:]])]

    async def all_at_once():
        async with running(services) as client:
            opinions = [client.post("/v1/opinions/classify", json={"texts": [text]}) for text in texts]
            answers = [
                client.post("/v1/reader/answer", json={"question": question, "passages": passages})
                for question, passages in asked
            ]
            return await asyncio.gather(*opinions), await asyncio.gather(*answers)

    opinions, answers = asyncio.run(all_at_once())
    for text, found in zip(texts, opinions, strict=True):
        [result], direct = found.json()["results"], model.classify(text)
        assert (result["label"], result["labels"]) == (direct.label, list(direct.labels))
        assert result["scores"] == pytest.approx(direct.scores, abs=1e-5)
    for found, direct in zip(answers, read.predict(asked), strict=True):
        result = found.json()
        assert (result["text"], result["score"]) == (direct.text, pytest.approx(direct.score, abs=1e-3))
        assert [e["passage"] for e in result["evidence"]] == [e.passage for e in direct.evidence]


@pytest.mark.parametrize("head", ["crf", "global-pointer", "efficient-global-pointer"])
def test_labelers_find_the_same_in_programs_for_all_sizes(head):
    model, texts = labeler(head), [text.text for text in entity_texts()[:5]]
    texts.append("，".join(texts))  # read in windows
    found = FewSizes(model.predict, "好", model.seq_length, windows=True)(texts)
    assert found == [model.label(text) for text in texts]


@pytest.fixture(params=[False, True])
def free(request, monkeypatch):
    """Whether one program is compiled for all shapes."""
    monkeypatch.setattr(shapes, "one_program", lambda exported=False: contextlib.nullcontext(request.param))
    return request.param


def test_batches_are_filled_up_to_FewSizes_and_give_what_was_asked(free):
    seen = []

    def compute(items, batch_size=64):
        seen.append((len(items), max(map(len, items)), batch_size))
        return [item.upper() for item in items]

    texts = FewSizes(compute, "好", most=24, windows=True)
    asked = ["a", "b" * 22, "c", "d", "e" * 99, "f", "g", "h" * 20]
    assert texts(asked) == [text.upper() for text in asked]
    # one text and four of one width, two longer ones, and the one that gives windows by itself
    assert seen == [*([(5, 1, 64)] if free else [(1, 1, 64), (4, 1, 64)]), (2, 22, 64), (1, 99, 2)]
    assert texts([]) == []
    assert sorted(texts.with_first(asked[1:])) == [0, 6]  # the other longer one
    assert texts.with_first(asked[4:]) == [0]


def test_texts_are_grouped_so_that_little_is_padded(free):
    draw = random.Random(3)
    for count in (1, 2, 3, 5, 8, 13, 64):
        widths = [draw.choice((5, 16, 17, 40, 90, 128)) for _ in range(count)]
        made = groups(widths, free)
        assert sorted(i for some, _ in made for i in some) == list(range(count))
        assert all(len(some) <= size and size in (FREE if free else SIZES) for some, size in made)
        padded = sum(size * rounded(max(widths[i] for i in some), free) for some, size in made)
        assert padded <= 1.4 * sum(rounded(width, free) for width in widths) + 16
    assert groups([16] * 8, free) == [(list(range(8)), 8)]


@pytest.mark.parametrize("most", [20, 64, 128, 512])
def test_warm_texts_have_every_shape_that_requests_can_have(most, free):
    warm = {(min(rounded(length + 2), most), size) for length, size in shapes.shapes_to_warm(most, 8)}
    widths = {min(rounded(width), most) for width in range(3, most + 1)}
    assert warm == ({(16, 1)} if free else {(width, size) for width in widths for size in (1, 2, 4, 8)})


def test_windows_of_readers_have_few_numbers(free):
    seen = []

    def compute(items, rows=64):
        seen.append((rows, [len(passages) for _, passages in items]))
        return list(items)

    asked = [("谁？", ["a", "b"]), ("谁？", ["c"])]
    some = type("Reader", (), {"lengths": ReadingLengths(), "method": "seq2seq"})
    assert FewWindows(some, compute)(asked) == asked
    assert FewWindows(some, compute)(asked[:1]) == asked[:1]
    assert seen == [(64, [2, 1, 1]), (64, [2])]
    seen.clear()
    some = type("Reader", (), {"lengths": SpanLengths(), "method": "span"})
    assert FewWindows(some, compute)(asked) == asked
    assert FewWindows(some, compute)(asked * 4) == asked * 4
    assert seen == ([(3, [2, 1]), (12, [2, 1] * 4)] if free else [(4, [2, 1, 1]), (4, [2, 1] * 4)])
    assert FewWindows(some, compute).with_first(asked * 8) == list(range(10))  # 15 windows; the next has two
    assert FewWindows(some, compute).with_first([("谁？", ["a"] * 20), *asked]) == [0]


class Writer:
    """What the server sees of a conditional generator."""

    task = "conditional_generation"
    conditions = Conditions(labels={"mood": ("bad", "good")})

    def generate_batch(self, conditions, count=1, **sampling):
        text = f"{sampling['prompt']}{conditions[0].get('mood')}{sampling['seed']}"
        return [[GeneratedText(text, -1.5, 3, True)] * count]

    def stream(self, condition, **sampling):
        if sampling["guidance"] > 10:
            raise ValueError("foreign")
        [[whole]] = self.generate_batch([condition], **sampling)
        yield PartialText(whole.text[:2], 0, 1)
        yield PartialText(whole.text, 2, 3)
        yield PartialText(whole.text, len(whole.text), 3, done=True, complete=True)


class SourceWriter:
    """What the server sees of a sequence-to-sequence model."""

    task = "sequence_to_sequence"
    lengths = PairLengths(source_length=20, target_length=9)

    def generate_batch(self, sources, search, count, **settings):
        return [
            [GeneratedText(f"{source}{search}{settings['max_length']}", -1.5, 3, True)] * count for source in sources
        ]

    def stream(self, source, **settings):
        [[whole]] = self.generate_batch([source], **settings)
        yield PartialText(whole.text, 0, 3)
        yield PartialText(whole.text, len(whole.text), 3, done=True, complete=True)


def test_a_text_is_written_for_a_text_at_once_or_as_a_stream():
    body = {"source": "山上下雪", "search": "beam"}
    plain, streamed, long, blank = ask(
        {"writer": service_of(SourceWriter(), options())},
        post("/v1/writer/generate", **body, count=2),
        post("/v1/writer/generate", **body, stream=True),
        post("/v1/writer/generate", **body, max_length=10),
        post("/v1/writer/generate", source=" "),
    )
    assert [one["text"] for one in plain.json()["texts"]] == ["山上下雪beamNone"] * 2  # the model's own limit
    assert [(kind, data.get("text", data.get("new"))) for kind, data in events(streamed.text)] == [
        ("part", "山上下雪beamNone"),
        ("done", "山上下雪beamNone"),
    ]
    assert "max_length: Input should be less than or equal to 9" in message_of(long)
    assert "the text is empty" in message_of(blank)


def test_a_request_has_every_option_of_writing_with_its_default_and_a_server_its_limit():
    offered = service_of(SourceWriter(), options()).verbs["generate"].request
    assert set(offered.model_fields) == {field.name for field in dataclasses.fields(Decoding)} | {"source", "stream"}
    assert offered(source="山").model_dump(exclude={"source", "stream"}) == dataclasses.asdict(Decoding())
    capped = service_of(SourceWriter(), options(max_tokens=5))
    [plain] = ask({"writer": capped}, post("/v1/writer/generate", source="山"))
    assert [one["text"] for one in plain.json()["texts"]] == ["山greedy5"]


def events(text):
    found = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in found]


def test_a_stream_makes_the_text_that_comes_without_one():
    body = {"condition": {"mood": "good"}, "prompt": "房间", "seed": 7}
    plain, streamed, wrong, failed = ask(
        {"writer": service_of(Writer(), options())},
        post("/v1/writer/generate", **body, count=2),
        post("/v1/writer/generate", **body, stream=True),
        post("/v1/writer/generate", condition={"mood": "fine"}, stream=True),
        post("/v1/writer/generate", guidance=11, stream=True),
    )
    assert [one["text"] for one in plain.json()["texts"]] == ["房间good7"] * 2
    assert streamed.headers["content-type"].startswith("text/event-stream")
    shown, kinds = "", []
    for kind, data in events(streamed.text):
        kinds.append(kind)
        shown = data["text"] if kind == "done" else shown[: data["kept"]] + data["new"]
    assert (kinds, shown) == (["part", "part", "done"], "房间good7")
    assert "condition.mood: Input should be 'bad' or 'good'" in message_of(wrong)
    assert (failed.status_code, "foreign" in failed.text) == (500, False)  # before the stream began


def test_what_the_contract_does_not_allow_is_named_and_not_repeated(light):
    bad = [
        {"texts": ["好"], "standard": "secret-input"},
        {"texts": []},
        {"texts": ["好"] * 65},
        {"texts": ["好" * 10_001]},
        {"texts": "secret-input"},
        {"texts": ["好"], "secret": 1},
        {},
    ]
    found = ask(light, *(post("/v1/segmenter/segment", **body) for body in bad))
    assert [answer.status_code for answer in found] == [422] * len(bad)
    assert not any("secret-input" in answer.text for answer in found)
    assert message_of(found[0]) == "standard: Input should be 'cnc', 'weibo', 'sxu', 'msr' or 'pku'"
    assert message_of(found[-1]) == "texts: Field required"
    [blank] = ask(light, post("/v1/similar/encode", texts=["好", " \n"]))
    assert message_of(blank) == "texts.1: Value error, the text is empty"


def test_models_tell_what_they_do_and_the_description_has_a_path_for_each_verb(light):
    models, described, health = ask(light, *(("GET", path, {}) for path in ("/v1/models", "/openapi.json", "/healthz")))
    rows = {row["id"]: row for row in models.json()["data"]}
    assert (rows["segmenter"]["task"], rows["segmenter"]["verbs"]) == ("word_segmentation", ["segment"])
    assert rows["similar"]["verbs"] == ["encode", "rank", "embeddings"]
    paths = described.json()["paths"]
    assert {"/v1/segmenter/segment", "/v1/similar/rank", "/v1/embeddings", "/metrics", "/readyz"} <= set(paths)
    assert "x-request-id" in health.headers


def test_a_server_is_ready_when_it_is_warm_and_counts_what_it_does():
    computed = []

    def compute(items):
        computed.append(items)
        return items

    service = echo_service(compute)
    verb = service.verbs["say"]
    warm = type(service)(service.task, {"say": type(verb)(**(vars(verb) | {"warm": [{"texts": ["w"] * 3}]}))})

    async def watch():
        async with running({"echo": warm}, options(warm_up=True, wait_ms=0.0)) as client:
            states = [(await client.get("/readyz")).status_code]
            while states[-1] != 200:
                await asyncio.sleep(0.01)
                states.append((await client.get("/readyz")).status_code)
            await client.post("/v1/echo/say", json={"texts": ["a", "b"]})
            return states, (await client.get("/metrics")).text

    states, metrics = asyncio.run(watch())
    assert (states[0], states[-1], computed) == (503, 200, [["w", "w", "w"], ["a", "b"]])
    assert 'nlptasks_requests_total{model="echo",status="200",verb="say"} 1.0' in metrics
    assert 'nlptasks_batch_items_sum{model="echo",verb="say"} 2.0' in metrics
    assert 'nlptasks_queue_items{model="echo"} 0.0' in metrics


def test_more_than_the_queue_holds_gets_429_and_all_else_its_answer():
    import time

    def slow(items):
        time.sleep(0.05)
        return items

    async def crowd():
        async with running({"echo": echo_service(slow)}, options(max_batch=2, max_queue=64, max_items=1)) as client:
            body = [{"texts": [str(i), str(i)]} for i in range(60)]
            return await asyncio.gather(*(client.post("/v1/echo/say", json=one) for one in body))

    found = asyncio.run(crowd())
    statuses = [answer.status_code for answer in found]
    assert set(statuses) == {200, 429}
    for i, answer in enumerate(found):
        if answer.status_code == 200:
            assert answer.json()["results"] == [str(i)] * 2
        else:
            assert answer.headers["retry-after"] == "1"


def test_a_request_that_the_server_has_no_time_for_when_it_stops_is_told_so():
    going, sent = threading.Event(), []

    async def body():
        async with running({"echo": echo_service(lambda texts: (going.wait(5), texts)[1])}) as client:
            asked = asyncio.create_task(call(client.app, "/v1/echo/say", [part(b'{"texts": ["a"]}')], sent=sent))
            await asyncio.sleep(0.1)
            asked.cancel()  # as uvicorn does when its time is over
            with pytest.raises(asyncio.CancelledError):
                await asked
            going.set()

    asyncio.run(body())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["type"] == "stopping"


def test_an_answer_that_takes_too_long_is_given_up():
    import time

    def slow(items):
        time.sleep(0.2)
        return items

    [found] = ask(
        {"echo": echo_service(slow)}, post("/v1/echo/say", texts=["a"]), settings=options(request_seconds=0.05)
    )
    assert (found.status_code, found.json()["error"]["type"]) == (504, "too_slow")


def test_the_example_of_the_docstring_makes_an_application():
    names = {}
    [example] = examples(make_app.__doc__)
    exec(example, names)
    assert callable(names["app"])
