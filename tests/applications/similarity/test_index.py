"""The index: what goes in comes out again, equal ones stand in their order, and nothing of others is touched."""

import copy
import json
import pickle
import signal
import sys
from types import ModuleType

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.similarity import index as similarity_index
from nlptasks.applications.similarity import vectors
from nlptasks.applications.similarity.index import SentenceIndex
from nlptasks.applications.similarity.vectors import GRAPH, ROWS
from nlptasks.backend import packages
from nlptasks.command import main
from nlptasks.errors import UserError
from tests.applications.similarity.similarity_cases import SENTENCES, random_encoder

pytestmark = pytest.mark.once


@pytest.fixture(params=[GRAPH, ROWS])
def kind(request, monkeypatch):
    """With and without usearch."""
    if request.param == ROWS:
        monkeypatch.setattr(vectors, "is_installed", lambda module: False)
        monkeypatch.setattr(packages, "is_installed", lambda module: module != "usearch")
    return request.param


@pytest.fixture(params=[0, 1000])
def exact_below(request, monkeypatch):
    monkeypatch.setattr(similarity_index, "EXACT_BELOW", request.param)


def found(encoder, hybrid, top=4):
    return [[(m.text, round(m.score, 5)) for m in encoder.most_similar(text, top, hybrid)] for text in SENTENCES]


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.usefixtures("exact_below")
def test_an_index_with_sentences_taken_out_is_one_that_never_had_them(kind, hybrid, tmp_path):
    encoder, other = random_encoder(), random_encoder()
    encoder.add(SENTENCES)
    gone = [SENTENCES[0], SENTENCES[5], SENTENCES[-1]]
    assert encoder.remove(gone) == 3
    other.add([text for text in SENTENCES if text not in gone])
    assert found(encoder, hybrid) == found(other, hybrid)
    position = {match.text: match.position for match in encoder.most_similar("什么", 99)}
    assert position == {text: i for i, text in enumerate(SENTENCES) if text not in gone}
    encoder.index.save(tmp_path)
    again = random_encoder()
    again.open_index(tmp_path)
    assert found(again, hybrid) == found(encoder, hybrid)
    for one in (encoder, again):
        one.add(["又一句", SENTENCES[0]])
        assert one.most_similar("又一句", 1)[0].position == len(SENTENCES)  # no number is given twice
        assert one.remove("又一句") == 1
    assert found(again, hybrid) == found(encoder, hybrid)
    again.index.save(tmp_path)
    again.open_index(tmp_path)
    again.remove([again.index.texts[0]])
    assert len(again.index) == len(encoder.index) - 1


def test_what_is_not_there_is_not_taken_out_and_nothing_else_is(kind):
    encoder = random_encoder()
    with pytest.raises(UserError, match="'一' is not in the index; nothing was taken out"):
        encoder.remove("一")
    encoder.add([*SENTENCES, SENTENCES[1]])
    with pytest.raises(UserError, match="'没有' is not in the index"):
        encoder.remove([SENTENCES[0], "没有"])
    with pytest.raises(UserError, match="no sentence at position 999"):
        encoder.index.remove([0, 999])
    assert len(encoder.index) == len(SENTENCES) + 1
    assert encoder.remove([SENTENCES[1]]) == 2  # all that are equal


@pytest.mark.parametrize("bad", ["一\n二", "坏\ud83d", 3, None])
def test_a_bad_sentence_late_in_a_list_leaves_the_index_as_it_was(kind, bad, monkeypatch):
    monkeypatch.setattr("nlptasks.applications.similarity.encoder.CHUNK", 3)
    encoder = random_encoder()
    encoder.add(SENTENCES[:2])
    with pytest.raises((TypeError, ValueError), match=r"texts\[7\]"):
        encoder.add([*SENTENCES[2:9], bad])
    assert encoder.index.texts == SENTENCES[:2]


def test_an_interruption_leaves_the_index_as_it_was(kind, monkeypatch, tmp_path):
    monkeypatch.setattr("nlptasks.applications.similarity.encoder.CHUNK", 3)
    encoder = random_encoder()
    encoder.make_index(SENTENCES[:2]).save(tmp_path)
    encoder.open_index(tmp_path)
    encode, calls = encoder.model.encode, []

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(texts)

    monkeypatch.setattr(encoder.model, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.add(SENTENCES[2:])
    assert (encoder.index.texts, encoder.index.next_position) == (SENTENCES[:2], 2)
    monkeypatch.undo()
    encoder.add(SENTENCES[2:])
    whole = random_encoder()
    whole.add(SENTENCES)
    assert found(encoder, True) == found(whole, True)


def test_ctrl_c_while_vectors_go_in_leaves_the_index_as_it_was(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(vectors, "ADDED_AT_ONCE", 3)
    encoder = random_encoder()
    encoder.make_index(SENTENCES[:2]).save(tmp_path)
    encoder.open_index(tmp_path)
    encoder.add([SENTENCES[2]])  # no longer memory-mapped
    own, calls = encoder.index._vectors, []

    class Slow:
        def __getattr__(self, name):
            return getattr(own, name)

        def __len__(self):
            return len(own)

        def add(self, *arguments, **settings):
            calls.append(arguments)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            own.add(*arguments, **settings)

    encoder.index._vectors = Slow()
    with pytest.raises(KeyboardInterrupt):
        encoder.add(SENTENCES[3:])
    assert len(calls) == 2
    encoder.index._vectors = own
    assert (encoder.index.texts, encoder.index.next_position, len(own)) == (SENTENCES[:3], 3, 3)
    encoder.add(SENTENCES[3:])
    encoder.index.save(tmp_path)
    whole, again = random_encoder(), random_encoder()
    whole.add(SENTENCES)
    again.open_index(tmp_path)
    assert found(again, True) == found(whole, True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_open_index_that_another_program_has_saved_is_told_and_harms_nothing(kind, tmp_path):
    one, other = random_encoder(), random_encoder()
    one.make_index(SENTENCES[:4]).save(tmp_path)
    one.open_index(tmp_path)
    other.open_index(tmp_path)
    other.add(SENTENCES[4:6])
    other.index.save(tmp_path)
    for change in (lambda: one.add(["又一句"]), lambda: one.remove([SENTENCES[0]])):
        with pytest.raises(
            UserError, match=r"vectors\.0\.\w+: the vectors of the open index are gone; another program"
        ):
            change()
    assert (len(one.index), one.index.texts) == (4, SENTENCES[:4])
    assert one.most_similar(SENTENCES[1], 1)[0].text == SENTENCES[1]
    again = random_encoder()
    again.open_index(tmp_path)
    assert again.index.texts == SENTENCES[:6]


def test_an_index_whose_parts_differ_is_not_written(tmp_path):
    encoder = random_encoder()
    encoder.make_index(SENTENCES).save(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    encoder.open_index(tmp_path)
    encoder.index.texts.pop()
    with pytest.raises(ValueError, match="nothing is written; the index in memory is damaged"):
        encoder.index.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.usefixtures("exact_below")
def test_equal_scores_stand_in_the_order_of_adding_and_no_cosine_is_above_one(kind, rng):
    encoder = random_encoder()
    texts = [SENTENCES[i] for i in rng.integers(0, 5, 60)]
    encoder.add(texts[:33])
    for text in texts[33:]:
        encoder.add([text])
    for hybrid in (False, True):
        matches = encoder.most_similar(SENTENCES[2], 60, hybrid)
        expected = sorted(range(60), key=lambda i: (texts[i] != SENTENCES[2], i))
        same = texts.count(SENTENCES[2])
        assert [match.position for match in matches[:same]] == expected[:same]
        assert len({match.score for match in matches[:same]}) == 1
        keys = [(-match.score, match.position) for match in matches]
        assert keys == sorted(keys)
    for text in SENTENCES:
        encoder.add([text])
        match = encoder.most_similar(text, 1)[0]
        assert match.text == text
        assert 1 - 1e-5 < match.score <= 1


def test_where_more_are_equal_than_asked_for_the_first_ones_are_found(kind):
    encoder = random_encoder()
    encoder.add([SENTENCES[3]] * 40)
    assert [match.position for match in encoder.most_similar(SENTENCES[3], 5)] == [0, 1, 2, 3, 4]


def test_saving_removes_nothing_that_is_not_its_own(kind, tmp_path):
    mine = {name: f"my {name}" for name in ("texts.0.txt", "texts.1.txt", "lexical.npz", "vectors.7.npy", "corpus.txt")}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    encoder = random_encoder()
    index = encoder.make_index(SENTENCES[:3])
    for _ in range(3):
        index.save(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert len(list(tmp_path.iterdir())) == len(mine) + 4
    assert len(random_encoder().open_index(tmp_path)) == 3


@pytest.mark.parametrize("text", ['{"files": {"vectors": "../a", "texts": "b", "lexical": "c"}}', "[1]", "{}", "mine"])
def test_an_index_json_of_something_else_is_not_written_over(text, tmp_path):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match=r"index\.json: is not of an index of sentences, and is not written over"):
        random_encoder().make_index(SENTENCES).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]
    assert (tmp_path / "index.json").read_text() == text


def test_a_shallow_copy_of_an_index_is_one_of_its_own(kind):
    encoder = random_encoder()
    index = encoder.make_index(SENTENCES[:3])
    again = copy.copy(index)
    encoder.add(SENTENCES[3:5], again)
    assert (len(index), len(index.positions), len(again)) == (3, 3, 5)
    for one, texts in ((index, SENTENCES[:3]), (again, SENTENCES[:5])):
        [matches] = one.search([SENTENCES[4]], encoder.encode([SENTENCES[4]]), 9, 0.2)
        assert {match.text for match in matches} == set(texts)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_an_encoder_with_an_index_is_copied(kind, make, tmp_path):
    encoder = random_encoder()
    encoder.make_index(SENTENCES).save(tmp_path)
    encoder.open_index(tmp_path)  # memory-mapped
    again = make(encoder)
    assert found(again, True) == found(encoder, True)
    again.add(["又一句"])
    again.remove([SENTENCES[0]])
    assert (len(again.index), len(encoder.index)) == (len(SENTENCES), len(SENTENCES))
    assert encoder.most_similar(SENTENCES[0], 1)[0].text == SENTENCES[0]


def test_an_index_from_before_there_was_removing_opens(tmp_path):
    encoder = random_encoder()
    encoder.make_index(SENTENCES).save(tmp_path)
    header = json.loads((tmp_path / "index.json").read_text())
    del header["next_position"]
    (tmp_path / "index.json").write_text(json.dumps(header))
    with np.load(tmp_path / "lexical.0.npz") as arrays:
        former = {name: array for name, array in arrays.items() if name != "positions"}
    np.savez(tmp_path / "lexical.0.npz", **former)
    encoder.open_index(tmp_path)
    encoder.add(["又一句"])
    assert encoder.most_similar("又一句", 1)[0].position == len(SENTENCES)


def test_signs_that_the_bundled_encoder_does_not_know_do_not_all_look_alike():
    encoder = nlptasks.load("similarity")
    signs = [chr(code) for code in range(0x2A700, 0x2A700 + 40)]
    known = set(encoder.model.vocab.characters)
    assert known.isdisjoint(signs)
    cosines = encoder.encode(signs) @ encoder.encode(signs).T
    assert (cosines[~np.eye(len(signs), dtype=bool)] < 0.99).all()


def test_a_transformer_with_an_index_is_copied():
    from nlptasks.applications.similarity.encoder import SentenceEncoder
    from nlptasks.applications.similarity.network import TransformerEncoder
    from nlptasks.applications.similarity.transformer import TransformerModel
    from nlptasks.core import Transformer, TransformerConfig
    from nlptasks.text import Tokenizer, build_character_vocab

    tokenizer = Tokenizer(build_character_vocab(SENTENCES))
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "ffn_size": 8, "max_positions": 16}
    transformer = Transformer(TransformerConfig(vocab_size=tokenizer.vocab_size, **sizes))
    transformer.build()
    encoder = SentenceEncoder(TransformerModel(TransformerEncoder(transformer, "mean"), tokenizer, 12))
    encoder.add(SENTENCES[:4])
    again = pickle.loads(pickle.dumps(encoder))
    assert again.fingerprint == encoder.fingerprint
    assert again.most_similar(SENTENCES[1], 3) == encoder.most_similar(SENTENCES[1], 3)


# the command


@pytest.fixture
def model(tmp_path):
    random_encoder().save(tmp_path / "model")
    return tmp_path / "model"


def run(*words, expected=0):
    assert main(["similarity", *map(str, words)]) == expected


def test_the_command_takes_sentences_out_and_leaves_the_corpus_beside_the_index(model, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "texts.0.txt").write_text("".join(f"{text}\n" for text in SENTENCES), encoding="utf-8")
    run("index", "--model", model, "--corpus", folder / "texts.0.txt", "--output", folder)
    (folder / "gone.txt").write_text(f"{SENTENCES[2]}\n没有这句\n", encoding="utf-8")
    (folder / "more.txt").write_text("又一句\n", encoding="utf-8")
    capsys.readouterr()
    run("index", "--model", model, "--remove", folder / "gone.txt", "--corpus", folder / "more.txt", "--output", folder)
    told = capsys.readouterr().err
    assert "1 sentences taken out (1 were not there), 1 sentences added in" in told
    assert f"{len(SENTENCES)} in all" in told
    assert (folder / "texts.0.txt").read_text(encoding="utf-8").splitlines() == list(SENTENCES)
    run("search", "--model", model, "--index", folder, "--query", SENTENCES[2], "--json")
    assert SENTENCES[2] not in [match["text"] for match in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize("form", ["npy", "usearch", "faiss"])
@pytest.mark.parametrize("source", ["--corpus", "--index"])
def test_vectors_are_handed_to_other_programs(form, source, model, tmp_path, monkeypatch):
    written = {}
    if form == "faiss" and not packages.is_installed("faiss"):
        monkeypatch.setitem(sys.modules, "faiss", stand_in_for_faiss(written))
        monkeypatch.setattr(packages, "is_installed", lambda module: True)
    (tmp_path / "corpus.txt").write_text("".join(f"{text}\n" for text in SENTENCES), encoding="utf-8")
    run("index", "--model", model, "--corpus", tmp_path / "corpus.txt", "--output", tmp_path / "index")
    (tmp_path / "gone.txt").write_text(f"{SENTENCES[0]}\n", encoding="utf-8")
    run("index", "--model", model, "--remove", tmp_path / "gone.txt", "--output", tmp_path / "index")
    given = tmp_path / ("index" if source == "--index" else "corpus.txt")
    run("index", "--model", model, source, given, "--format", form, "--output", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = [{"id": i, "text": text} for i, text in enumerate(SENTENCES) if source == "--corpus" or i]
    assert lines == expected
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["sentences"], about["metric"], about["vector_size"]) == (len(lines), "inner product", 7)
    path, ids = tmp_path / "out" / f"vectors.{form}", np.array([line["id"] for line in lines])
    wanted = random_encoder().encode([line["text"] for line in lines])
    if form == "npy":
        stored = np.load(path)
    elif form == "usearch":
        from usearch.index import Index

        stored = np.asarray(Index.restore(str(path)).get(ids.astype("uint64")), "float32")
    elif written:
        stored = written["vectors"]
        assert written["ids"].tolist() == ids.tolist()
    else:
        import faiss

        index = faiss.read_index(str(path))
        assert faiss.vector_to_array(index.id_map).tolist() == ids.tolist()
        stored = np.stack([index.reconstruct(int(i)) for i in ids])
    np.testing.assert_allclose(stored, wanted, atol=1e-6 if form != "usearch" and source == "--corpus" else 2e-3)


def stand_in_for_faiss(written):
    class IndexFlatIP:
        def __init__(self, size):
            self.size = size

    class IndexIDMap2:
        def __init__(self, inner):
            assert inner.size == 7

        def add_with_ids(self, vectors, ids):
            written.update(vectors=vectors, ids=ids)

    module = ModuleType("faiss")
    module.IndexFlatIP, module.IndexIDMap2 = IndexFlatIP, IndexIDMap2
    module.write_index = lambda index, path: open(path, "wb").close()
    return module


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--output out", "give --corpus, or --remove to take sentences out."),
        ("--output out --add --remove a", "--add goes with --corpus."),
        ("--output out --format npy", "--format npy writes the vectors of either --corpus or --index"),
        ("--output out --format npy --corpus a --add", "--format npy writes the vectors of either --corpus or --index"),
        (
            "--output out --format csv --corpus a",
            "--format must be one of index, npy, usearch, faiss. Received: 'csv'.",
        ),
        ("--output out --index a", "--index goes with --format npy, usearch, faiss."),
    ],
)
def test_options_of_an_index_that_do_not_go_together_are_refused(words, text, capsys):
    run("index", *words.split(), expected=2)
    assert text in capsys.readouterr().err


def test_search_gives_scores_that_are_numbers_of_python(model):
    index = SentenceIndex(7, "x")
    index.add(["一"], np.eye(1, 7, dtype="float32"))
    [[match]] = index.search(["一"], np.eye(1, 7, dtype="float32"))
    assert (type(match.score), type(match.position), match.score) == (float, int, 1.0)
