"""Small tokenizers of every kind, trained on the sample data of this repository; and strings to try them with."""

import functools
import io
import json
import random
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

DATA = Path(__file__).parents[2] / "data"
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMES = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
ODD = "㈱½…㎏①②ﬁ㍿㌔ｶﾞＡ，。！？“”é\u0301ⅷ℃™👨👩👧家🇨🇳👍🏽中文字符AaZz09 \u3000\t\u200b\u200d\ufeff\u00ad"


@functools.cache
def sample_texts():
    texts = []
    for name in ("reviews_sample.tsv", "segmentation_sample.txt", "similarity_sample.tsv"):
        texts += (DATA / name).read_text(encoding="utf-8").replace("\t", " ").splitlines()
    joined = [text.replace(" ", "") for text in texts[:400]]
    return texts + joined + ["The quick brown fox jumps over 12 lazy dogs.", "株式会社 1⁄2 kg AB 家 é fin."] * 20


def strings(count, alphabet=ODD):
    """Strings that mix pieces of the sample with odd characters; equal from run to run."""
    rng, texts = random.Random(3), sample_texts()
    found = []
    while len(found) < count:
        text = rng.choice(texts)
        start = rng.randrange(len(text)) if text else 0
        parts = [text[start : start + rng.randrange(1, 30)]]
        parts += ["".join(rng.choices(alphabet, k=rng.randrange(4))) for _ in range(rng.randrange(3))]
        rng.shuffle(parts)
        found.append("".join(parts))
    return found


@functools.cache
def piece_model(kind="xlm-roberta"):
    """The bytes of a Unigram model of `sentencepiece`, with the ids of the original's file."""
    import sentencepiece

    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} if kind == "t5" else {}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample_texts()),
        model_writer=out,
        vocab_size=900,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
        **ids,
    )
    return out.getvalue()


@functools.cache
def json_source(kind, pad_first=False):
    """The tokenizer.json of a "unigram", "bpe" (of bytes, as RoBERTa's) or "wordpiece" vocabulary."""
    specials = ["<pad>", "<s>", *SPECIALS[2:]] if pad_first else SPECIALS
    if kind == "bpe":
        library = tokenizers.Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=specials, initial_alphabet=alphabet)
    elif kind == "unigram":
        library = tokenizers.Tokenizer(models.Unigram())
        library.normalizer = normalizers.NFKC()
        library.pre_tokenizer = pre_tokenizers.Metaspace()
        library.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=900, special_tokens=specials, unk_token="<unk>")
    else:
        library = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
        library.normalizer = normalizers.BertNormalizer()
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=specials)
    library.train_from_iterator(sample_texts(), trainer)
    cls, sep = (("<s>", library.token_to_id("<s>")), ("</s>", library.token_to_id("</s>")))
    library.post_processor = processors.RobertaProcessing(sep, cls)
    return library.to_str(pretty=True)


def save_json(directory, kind, pad_first=False, names=True):
    """Writes a tokenizer.json of `json_source`, and tokenizer_config.json where `names` are to be known."""
    (directory / "tokenizer.json").write_text(json_source(kind, pad_first), encoding="utf-8")
    if names:
        (directory / "tokenizer_config.json").write_text(json.dumps(NAMES | {"tokenizer_class": "TokenizersBackend"}))
