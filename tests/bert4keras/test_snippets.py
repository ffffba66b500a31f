"""Strings, padding, decoders and tokens of bert4keras."""

import json
import threading
import urllib.request

import numpy as np
import pytest

from nlptasks.bert4keras import snippets, tokenizers
from nlptasks.bert4keras.check import check_source
from tests.golden.search_cases import CASES, END, MOST, TABLES, child, table

pytestmark = pytest.mark.once


def test_sequences_are_padded_and_cut():
    assert snippets.sequence_padding([[1, 2, 3], [4]]).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert snippets.sequence_padding([[1, 2, 3], [4]], 2, value=9, mode="pre").tolist() == [[1, 2], [9, 4]]
    found = snippets.sequence_padding([np.ones((1, 2, 3)), np.ones((2, 1, 3))], seq_dims=2)
    assert found.shape == (2, 2, 2, 3)
    assert found.sum() == 12
    with pytest.raises(ValueError, match="post or pre"):
        snippets.sequence_padding([[1]], mode="both")


def test_texts_are_cut_at_the_first_separators_that_do():
    text = "春天来了，花开了。孩子们唱歌，老师笑了。"
    pieces = snippets.text_segmentate(text, 8, "。，")
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 9
    assert snippets.truncate_sequences(4, -1, [1, 2, 3], [4, 5]) == [[1, 2], [4, 5]]
    assert snippets.strQ2B("ＡＢ　１！春") == "AB 1!春"


def test_common_parts_are_those_of_all_pairs():
    assert snippets.longest_common_substring("花开了又开", "又开了") == (2, (1, 3, 1, 3))
    length, pairs = snippets.longest_common_subsequence("abcbd", "acxbd")
    assert length == 4
    assert [("abcbd"[i], "acxbd"[j]) for i, j in pairs] == [("a", "a"), ("c", "c"), ("b", "b"), ("d", "d")]


def test_a_resized_matrix_keeps_its_norm():
    a = np.random.default_rng(0).normal(0, 1, (4, 6))
    for shape in ((8, 6), (3, 5), (7, 12)):
        found = snippets.orthogonally_resize(a, shape)
        assert found.shape == shape
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(a))


class Squares(snippets.DataGenerator):
    def __iter__(self, random=False):
        batch = []
        for is_end, n in self.sample(random):
            batch.append(n)
            if len(batch) == self.batch_size or is_end:
                yield [np.array(batch)], np.array(batch) ** 2
                batch = []


def test_a_generator_of_batches_is_endless_for_fit_and_ends_in_a_loop():
    data = Squares([1, 2, 3, 4, 5], 2)
    assert len(data) == 3
    assert [x[0].tolist() for x, _ in data] == [[1, 2], [3, 4], [5]]
    endless = data.forfit()
    drawn = [next(endless)[0][0] for _ in range(6)]
    assert sorted(np.concatenate(drawn[:3]).tolist()) == sorted(np.concatenate(drawn[3:]).tolist()) == [1, 2, 3, 4, 5]
    assert sorted(n for _, n in Squares(iter([3, 1, 2]), 2, buffer_size=2).sample(True)) == [1, 2, 3]


def test_parallel_results_come_in_order_when_asked():
    found = snippets.parallel_apply(len, ["a", "bcd", "ef"], 2, 10, dummy=True, unordered=False)
    assert found == [1, 3, 2]
    told = []
    assert snippets.parallel_apply(len, ["a", "bc"], 2, 1, callback=told.append, dummy=True) is None
    assert sorted(told) == [1, 2]


def test_a_file_is_read_by_line_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("春天\n来了\n\n", encoding="utf-8")
    with snippets.open(tmp_path / "a.txt", encoding="utf-8", indexable=str(tmp_path / "index")) as file:
        assert (file[1], file[0], len(file)) == ("来了\n", "春天\n", 3)
    assert json.loads((tmp_path / "index").read_text()) == [0, 7, 14]


TABLE = np.array([[0.0, 0.5, 0.3, 0.2], [0.0, 0.1, 0.2, 0.7], [0.0, 0.0, 0.1, 0.9], [0.0, 0.0, 0.0, 1.0]])


class Chain(snippets.AutoRegressiveDecoder):
    """The next token depends on the last one by a table."""

    @snippets.AutoRegressiveDecoder.wraps(default_rtype="probas", use_states=True)
    def predict(self, inputs, output_ids, states):
        assert len(inputs[0]) == len(output_ids)
        last = output_ids[:, -1] if output_ids.shape[1] else np.zeros(len(output_ids), int)
        return TABLE[last], (states or 0) + 1


def test_beam_search_finds_the_best_path_and_samples_follow_the_table():
    decoder = Chain(start_id=None, end_id=3, maxlen=4)
    assert decoder.beam_search([[0]], topk=2).tolist() == [1, 3]
    assert decoder.beam_search([[0]], topk=1).tolist() == [1, 3]
    np.random.seed(3)  # noqa: NPY002 - what the decoder draws from
    found = decoder.random_sample([[0]], n=400)
    share = sum(ids[0] == 3 for ids in found) / len(found)
    assert len(found) == 400
    assert abs(share - 0.2) < 0.06
    assert all(ids[0] != 3 for ids in decoder.random_sample([[0]], n=50, topk=2))
    assert all(ids[0] == 1 for ids in decoder.random_sample([[0]], n=50, topp=0.4))


def test_viterbi_keeps_to_first_and_last_tags():
    scores = np.array([[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]])
    free, bound = snippets.ViterbiDecoder(np.zeros((2, 2))), snippets.ViterbiDecoder(np.zeros((2, 2)), [0], [0])
    assert free.decode(scores).tolist() == [1, 1, 1]
    assert bound.decode(scores).tolist() == [0, 1, 0]
    assert scores[0, 1] == 3.0  # the caller's array is not written


def test_a_function_is_served():
    web = snippets.WebServing(host="127.0.0.1", port=0)
    web.route("/twice", lambda text, n=2: text * n, {"text": (None, True), "n": (int, False)})
    with web.make_server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/twice"
        answers = []
        for query in ("?text=a&n=3", "", "?text=a&n=-x"):
            try:
                with urllib.request.urlopen(address + query) as answer:
                    answers.append(json.loads(answer.read()))
            except OSError:
                answers.append(None)
        server.shutdown()
    assert answers[0] == {"code": 0, "desc": "succeeded", "data": "aaa"}
    assert answers[1]["code"] == 1


VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "春", "天", "，", "play", "##ing", "##天", "café", "花天"]


def test_tokens_have_a_start_and_an_end_and_keep_their_case():
    tokenizer = tokenizers.Tokenizer({token: i for i, token in enumerate(VOCAB)})
    assert tokenizer.tokenize("春天，playing") == ["[CLS]", "春", "天", "，", "play", "##ing", "[SEP]"]
    assert tokenizer.tokenize("Playing", maxlen=3) == ["[CLS]", "Playing", "[SEP]"]
    lowered = tokenizers.Tokenizer({token: i for i, token in enumerate(VOCAB)}, do_lower_case=True)
    assert lowered.encode("PLAYing", "春天", maxlen=6) == ([2, 8, 3, 5, 6, 3], [0, 0, 0, 1, 1, 1])
    text, tokens = "Playing 春", lowered.tokenize("Playing 春")
    places = lowered.rematch(text, tokens)
    assert ["".join(text[i] for i in place) for place in places] == ["", "Play", "ing", "春", ""]
    assert lowered.decode([2, 8, 9, 7, 5, 6, 3]) == "playing，春天"


def test_a_simplified_vocabulary_leaves_out_what_is_never_made(tmp_path):
    tokenizers.save_vocab(tmp_path / "vocab.txt", {token: i for i, token in enumerate(VOCAB)})
    vocab, kept = tokenizers.load_vocab(tmp_path / "vocab.txt", simplified=True, startswith=["[PAD]", "[UNK]"])
    assert [VOCAB[i] for i in kept] == list(vocab) == ["[PAD]", "[UNK]", "春", "天", "，", "play", "##ing", "café"]


class Searching(snippets.AutoRegressiveDecoder):
    """Reads the next token's logits from a table."""

    @snippets.AutoRegressiveDecoder.wraps(default_rtype="logits")
    def predict(self, inputs, output_ids, states):
        nodes = [0] * len(output_ids)
        for tokens in np.asarray(output_ids).T.tolist():
            nodes = [child(node, token) for node, token in zip(nodes, tokens, strict=True)]
        return self.table[nodes]


def test_beams_around_a_predict_find_what_bert4keras_found(golden):
    recorded = iter(json.loads((golden / "bert4keras" / "search.json").read_text()))
    tables = [table(seed) for seed in range(TABLES)]
    for case in CASES:
        decoder = Searching(start_id=None, end_id=END, maxlen=MOST, minlen=case["minlen"])
        for decoder.table in tables:
            ids = decoder.beam_search([[0]], case["topk"], temperature=case["temperature"], min_ends=case["min_ends"])
            assert ids.tolist() == next(recorded)["ids"]
    assert next(recorded, None) is None


def test_a_script_is_checked_by_its_names():
    source = (
        "from bert4keras.backend import keras, K, set_gelu\nfrom bert4keras.snippets import WebServing\n"
        "K.get_session()\nmodel.total_loss\n"
        "from bert4keras.models import nothing_like_this, GPT2\n"
    )
    found = {(f.line, f.name): f.state for f in check_source(source)}
    assert found[1, "bert4keras.backend.set_gelu"] == "same"
    assert found[2, "bert4keras.snippets.WebServing"] == "other meaning"
    absent = [name for name, state in found.items() if state == "not available"]
    assert {name for _, name in absent} >= {"K.get_session", ".total_loss"}
    assert found[5, "bert4keras.models.GPT2"] == "same"
