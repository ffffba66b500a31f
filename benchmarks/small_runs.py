"""Short seeded runs of every train command, and the small inputs they read: what `same_numbers.py` compares.

Everything is invented here or made by `data/make_*.py`. A run takes seconds; what it learns is of no use.
"""

import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

INPUTS, CHECKPOINT = "inputs", "inputs/checkpoint"
MODEL = "{model}"
"""in the commands of a run: its directory"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A train command, where it is stopped, and what is asked of its model."""

    name: str
    script: str
    """below the repository"""
    train: tuple[str, ...]
    """its arguments without --output"""
    uses: tuple[tuple[str, ...], ...] = ()
    """arguments of the same script, with MODEL for the run directory"""
    stop_after: int
    """how often the loop looks whether to stop until it is told so: once a batch and once an epoch"""
    backends: tuple[str, ...] = ("tensorflow", "jax")
    needs: tuple[str, ...] = ()
    """runs whose models it reads"""


def small_runs(hidden: int = 16) -> list[Run]:
    """All of them, each after those it needs.

    Args:
        hidden: size of every model that is made from scratch.
    """
    sizes = _words(f"--hidden-size {hidden} --num-layers 2 --num-heads 2 --ffn-size {2 * hidden}")
    return [
        *_reading(sizes),
        *_segmentation(hidden // 2),
        *_similarity(hidden),
        _conditional(hidden, sizes),
        *_classification(sizes),
        *_labeling(sizes),
        *_theseus(),
        _pretraining(),
    ]


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


def _asked(*lines: str) -> tuple[tuple[str, ...], ...]:
    return tuple(_words(line) for line in lines)


READING = "--train inputs/reading_train.json --valid inputs/reading_valid.json"
READING_USES = _asked(
    f"evaluate --model {MODEL} --data inputs/reading_valid.json --json",
    f"predict --model {MODEL} --data inputs/reading_valid.json --beam-size 2 --json",
    f"predict --model {MODEL} --data inputs/reading_valid.json --mode generative --json",
    f"predict --model {MODEL} --question 沈月白是哪里人？ --passage 沈月白生于1921年。 沈月白的老家在青石县。 --json",
)


def _reading(sizes) -> list[Run]:
    script = "tasks/reading_comprehension.py"
    lengths = "--passage-length 36 --question-length 20 --answer-length 8 --batch-size 8"
    return [
        Run(
            name="reading",
            script=script,
            train=_words(f"train {READING} --epochs 3 {lengths} --learning-rate 1e-2 --practice-share 0.4 --decay")
            + _words("--negative-ratio 0.4 --warmup-share 0.1 --clip-norm 1 --seed 3")
            + sizes,
            uses=READING_USES,
            stop_after=9,
        ),
        Run(
            name="reading_mlm",
            script=script,
            train=_words(f"train {READING} --epochs 2 {lengths} --learning-rate 1e-2 --method mlm --stride 14")
            + _words(f"--checkpoint {CHECKPOINT} --simplify-vocab --seed 4"),
            uses=READING_USES[:1] + READING_USES[-1:],
            stop_after=9,
        ),
    ]


def _segmentation(channels) -> list[Run]:
    script = "tasks/word_segmentation.py"
    train = "train --train inputs/words_fine.txt inputs/words_coarse.txt --standard fine coarse --hold-out 5 --epochs 2"
    train += f" --min-count 1 --min-pair-count 1 --batch-units 160 --learning-rate 1e-2 --channels {channels}"
    uses = _asked(
        f"evaluate --model {MODEL} --gold inputs/words_fine.txt --standard coarse --json",
        f"segment --model {MODEL} --data inputs/sentences.txt --json",
        f"segment --model {MODEL} --text 沈月白昨天买了3本书，1987年的。 --standard coarse --json",
    )
    train += f" {channels} --pair-size {channels}"
    return [
        Run(
            name="segmentation",
            script=script,
            train=_words(f"{train} --unit-size {channels} --seed 5"),
            uses=uses,
            stop_after=13,
        ),
        Run(
            name="segmentation_taught",
            script=script,
            train=_words(f"{train} --unit-size 4 --normalised coarse --teacher segmentation/run --seed 6"),
            uses=uses[1:2],
            stop_after=13,
            needs=("segmentation",),
        ),
    ]


def _similarity(hidden) -> list[Run]:
    train = "train --train inputs/groups.tsv --hold-out 5 --min-count 1 --batch-size 8 --epochs 3 --seq-length 16"
    train += f" --vector-size {hidden} --learning-rate 1e-2"
    uses = _asked(
        f"evaluate --model {MODEL} --data inputs/groups.tsv --hybrid --baselines --json",
        f"evaluate --model {MODEL} --pairs inputs/pairs.tsv --json",
        f"index --model {MODEL} --corpus inputs/sentences.txt --output {MODEL}-index",
        f"search --model {MODEL} --index {MODEL}-index --queries inputs/queries.txt --top 3 --json",
        f"search --model {MODEL} --index {MODEL}-index --query 密码怎么改 --hybrid --json",
    )
    script = "tasks/sentence_similarity.py"
    return [
        Run(
            name="similarity",
            script=script,
            train=_words(f"{train} --embedding-size {hidden} --mean-weight 0.3 --order-noise 1.5 --seed 7"),
            uses=uses,
            stop_after=11,
        ),
        Run(
            name="similarity_sampled",
            script=script,
            train=_words(f"{train} --embedding-size {hidden} --sampled-classes 8 --loss arc --seed 8"),
            uses=uses[:1],
            stop_after=11,
        ),
        Run(
            name="similarity_transformer",
            script=script,
            train=_words(f"{train} --encoder transformer --num-layers 1 --pooling cls --loss softmax --seed 9"),
            uses=uses,
            stop_after=11,
        ),
    ]


def _conditional(hidden, sizes) -> Run:
    generate = f"generate --model {MODEL} --max-length 12 --json"
    return Run(
        name="conditional",
        script="tasks/conditional_generation.py",
        train=_words("train --train inputs/reviews.tsv --columns category,sentiment,text --hold-out 0.1 --epochs 2")
        + _words("--label-columns category sentiment --label-names sentiment:0=negative,1=positive --max-length 40")
        + _words(f"--label-size {hidden // 2} --condition-hidden-size {hidden // 2} --combine concat --batch-size 8")
        + _words("--learning-rate 1e-2 --ema 0.8 --seed 10")
        + sizes,
        uses=_asked(
            f"evaluate --model {MODEL} --data inputs/reviews.tsv --json",
            f"{generate} --condition sentiment=positive category=酒店 --count 3 --top-p 0.95 --seed 2",
            f"{generate} --count 2 --prompt 房间 --top-k 5 --temperature 0.7",
            f"{generate} --condition sentiment=negative --guidance 2 --count 2",
        ),
        stop_after=11,
    )


def _classification(sizes) -> list[Run]:
    script = "tasks/text_classification.py"
    reviews = "--train inputs/reviews.tsv --valid inputs/reviews_valid.tsv --columns category sentiment text"
    topics = "--train inputs/topics.jsonl --valid inputs/topics.jsonl"
    pairs = "--train inputs/pairs.jsonl --valid inputs/pairs.jsonl --second-text second"
    base = "--batch-size 8 --max-length 40 --learning-rate 1e-2"
    texts = "--texts 房间很安静，值得推荐！ 苹果又酸又涩，下次不会再买。"
    columns = "--columns category sentiment text --label category"
    return [
        Run(
            name="classification",
            script=script,
            train=_words(
                f"train {reviews} --label category {base} --epochs 2 --accumulate 2 --ema 0.8 --fgm 0.3 --decay"
            )
            + _words("--clip-norm 1 --seed 11")
            + sizes,
            uses=_asked(
                f"evaluate --model {MODEL} --data inputs/reviews_valid.tsv {columns} --json",
                f"predict --model {MODEL} {texts} --json",
            ),
            stop_after=8,
        ),
        Run(
            name="classification_multi",
            script=script,
            train=_words(f"train {topics} --multi-label {base} --epochs 2 --pooling mean --seed 12") + sizes,
            uses=_asked(
                f"evaluate --model {MODEL} --data inputs/topics.jsonl --json", f"predict --model {MODEL} {texts} --json"
            ),
            stop_after=8,
        ),
        Run(
            name="classification_checkpoint",
            script=script,
            train=_words(
                f"train {pairs} {base} --epochs 2 --checkpoint {CHECKPOINT} --warmup-share 0.2 --decay --seed 13"
            ),
            uses=_asked(
                f"evaluate --model {MODEL} --data inputs/pairs.jsonl --second-text second --json",
                f"predict --model {MODEL} {texts} --json",
            ),
            stop_after=8,
        ),
    ]


LABELING = "--train inputs/entities.jsonl --valid inputs/entities.jsonl --batch-size 8 --max-length 24"
LABELING_USES = _asked(
    f"evaluate --model {MODEL} --data inputs/entities.jsonl --json",
    f"predict --model {MODEL} --texts 陶安去年从青石县搬到了永溪镇。 听说沈月白明天坐船去南山。 --json",
)


def _labeling(sizes) -> list[Run]:
    script = "tasks/sequence_labeling.py"
    return [
        Run(
            name="labeling",
            script=script,
            train=_words(f"train {LABELING} --epochs 3 --crf-lr-multiplier 10 --learning-rate 1e-2 --fgm 0.2 --seed 14")
            + sizes,
            uses=LABELING_USES,
            stop_after=10,
        ),
        Run(
            name="labeling_pointer",
            script=script,
            train=_words(f"train {LABELING} --epochs 2 --head global-pointer --head-size 8 --checkpoint {CHECKPOINT}")
            + _words("--learning-rate 1e-2 --recompute --seed 15"),
            uses=LABELING_USES,
            stop_after=8,
        ),
    ]


def _theseus() -> list[Run]:
    script, base = (
        "tasks/theseus_compression.py",
        f"--checkpoint {CHECKPOINT} --successor-layers 2 --learning-rate 1e-2",
    )
    epochs = "--predecessor-epochs 1 --replacement-epochs 2 --successor-epochs 2"
    pairs = "--train inputs/pairs.jsonl --valid inputs/pairs.jsonl --second-text second --batch-size 8 --max-length 40"
    lengths = "--passage-length 36 --question-length 20 --answer-length 8 --batch-size 8 --negative-ratio 0.4"
    return [  # the first is stopped while layers are replaced, the others before and after that
        Run(
            name="theseus_classification",
            script=script,
            train=_words(f"train --task classification {pairs} {base} {epochs} --replace-embeddings --seed 16"),
            stop_after=15,
        ),
        Run(
            name="theseus_labeling",
            script=script,
            train=_words(f"train --task labeling {LABELING} {base} {epochs} --mixing anneal --init even --seed 17"),
            stop_after=3,
        ),
        Run(
            name="theseus_reading",
            script=script,
            train=_words(f"train --task reading {READING} {lengths} {base} {epochs} --schedule cosine --seed 18"),
            stop_after=31,
        ),
    ]


def _pretraining() -> Run:
    return Run(
        name="pretraining",
        script="pretraining/pretrain.py",
        train=_words("--shards inputs/shards --config inputs/pretraining.json --num-steps 12 --batch-size 4 --seed 19")
        + _words(
            "--learning-rate 1e-2 --objective mlm=2,unilm=1 --ema 0.9 --accumulate 2 --valid-rows 8 --valid-every 5"
        )
        + _words("--save-every 4 --keep 1 --log-every 2 --mesh data=1 --peak-tflops 1"),
        stop_after=6,
        backends=("jax",),
    )


def uses_of(run: Run) -> list[tuple[str, ...]]:
    """Commands on the run's model, script first; a compressed model is used by its task's own script."""
    script, uses = run.script, run.uses
    if run.name == "theseus_labeling":
        script, uses = "tasks/sequence_labeling.py", LABELING_USES
    elif run.name == "theseus_reading":
        script, uses = "tasks/reading_comprehension.py", READING_USES
    elif run.name == "theseus_classification":
        script, uses = "tasks/text_classification.py", _classification(())[2].uses
    return [(script, *use) for use in uses]


# Inputs

PEOPLE, PLACES = ("沈月白", "陶安", "周砚", "林小舟"), ("青石县", "永溪镇", "南山", "河边的茶馆")
MEANINGS = (
    ("怎样修改{}的密码", "{}的密码怎么改", "在哪里改{}的密码"),
    ("{}今天会下雨吗", "今天{}下不下雨", "{}今天有没有雨"),
    ("{}几点开门", "{}什么时候开门", "请问{}的开门时间"),
)
TOPICS = {"天气": "今天会下雨。", "交通": "坐船要两个小时。", "价格": "门票涨到了40元。"}


def makers(backend: str) -> list[tuple[str, ...]]:
    """Commands that make inputs, script first; to be run after `write_inputs`."""
    found = [
        "data/make_reading_questions.py --count 48 --seed 1 --split train --output inputs/reading_train.json",
        "data/make_reading_questions.py --count 10 --seed 1 --split valid --output inputs/reading_valid.json",
        "data/make_reviews.py --count 60 --seed 1 --output inputs/reviews.tsv",
        "data/make_reviews.py --count 16 --seed 2 --output inputs/reviews_valid.tsv",
    ]
    if backend == "jax":
        found += [
            "data/make_corpus.py --count 60 --seed 1 --output inputs/corpus.txt",
            "pretraining/train_vocab.py --input inputs/corpus.txt --output inputs/vocab.txt --vocab-size 280",
            "pretraining/make_shards.py --input inputs/corpus.txt --vocab inputs/vocab.txt --output inputs/shards"
            " --seq-length 32 --segmenter jieba --processes 1 --shard-megabytes 0.01",
        ]
    return [_words(line) for line in found]


def write_inputs(folder: Path) -> None:
    """Writes what no script makes."""
    folder.mkdir(parents=True)
    choose = random.Random(1)

    def lines(name, rows):
        (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")

    def objects(name, rows):
        lines(name, (json.dumps(row, ensure_ascii=False) for row in rows))

    groups = list(enumerate(itertools.product(MEANINGS, (*PLACES, *PEOPLE))))
    texts = [[pattern.format(what) for pattern in patterns] for _, (patterns, what) in groups]
    lines("groups.tsv", (f"g{number}\t{text}" for number, same in enumerate(texts) for text in same))
    two = [(same[0], same[1], 1) for same in texts] + [(a[0], b[2], 0) for a, b in itertools.pairwise(texts)]
    choose.shuffle(two)
    lines("pairs.tsv", ("\t".join(map(str, row)) for row in two[:30]))
    objects("pairs.jsonl", ({"text": a, "second": b, "label": ("other", "same")[same]} for a, b, same in two[:40]))
    lines("sentences.txt", (same[2] for same in texts))
    lines("queries.txt", (same[0] for same in texts[:4]))
    objects("topics.jsonl", _topics(choose))
    objects("entities.jsonl", _entities(choose))
    sentences = [_segmented(choose) for _ in range(60)]
    lines("words_fine.txt", (" ".join(words) for words in sentences[:30]))
    lines("words_coarse.txt", (" ".join(_coarse(words)) for words in sentences[30:]))
    (folder / "pretraining.json").write_text(json.dumps(_bert_config(280, 2)), encoding="utf-8")
    characters = {character for path in folder.iterdir() for character in path.read_text(encoding="utf-8")}
    _write_checkpoint(folder / "checkpoint", sorted(c for c in characters if c > "~"))


def _topics(choose):
    for _ in range(40):
        labels = [name for name in TOPICS if choose.random() < 0.5]
        place = choose.choice(PLACES)
        yield {"text": f"{place}：" + "".join(TOPICS[name] for name in labels), "label": labels}


def _entities(choose):
    for _ in range(40):
        person, place, other = choose.choice(PEOPLE), *choose.sample(PLACES, 2)
        text = choose.choice(("{}去年从{}搬到了{}。", "听说{}明天坐船离开{}，去{}。")).format(person, place, other)
        found = {"name": {person: []}, "place": {place: [], other: []}}
        for spans in found.values():
            for word in spans:
                start = text.index(word)
                spans[word] = [[start, start + len(word) - 1]]
        yield {"text": text, "label": found}


def _segmented(choose):
    person, place = choose.choice(PEOPLE), choose.choice(PLACES)
    when = choose.choice((["昨天"], ["1987", "年", "冬天"], ["下雨", "的", "那", "天"]))
    what = choose.choice((["3", "本", "书"], ["两", "箱", "苹果"], ["一", "台", "计算机"]))
    return [person, *when, "在", *place.partition("的"), choose.choice(("买", "卖")), "了", *what, "。"]


def _coarse(words):
    """Another standard: numbers and their measure words are one word, as in normalized files."""
    joined = " ".join(word for word in words if word)
    for apart in ("1987 年", "3 本", "两 箱", "一 台", "那 天"):
        joined = joined.replace(apart, apart.replace(" ", ""))
    return joined.replace("1987", "0").split()


def _bert_config(vocab_size: int, num_layers: int) -> dict:
    return {
        "model_type": "bert", "vocab_size": vocab_size, "hidden_size": 8, "num_hidden_layers": num_layers,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 64, "type_vocab_size": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12,
    }  # fmt: skip


def _write_checkpoint(folder: Path, characters: list[str], num_layers: int = 4) -> None:
    """A BERT with a masked-LM head as Hugging Face lays it out, its weights drawn at random."""
    letters = [*map(chr, range(ord("!"), ord("A"))), *map(chr, range(ord("["), ord("~")))]
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *characters]
    tokens += [f"##{token}" for token in (*"0123456789", *characters[:5])]
    config = _bert_config(len(tokens), num_layers)
    D, F = config["hidden_size"], config["intermediate_size"]
    draw = np.random.default_rng(1)
    arrays = {}

    def add(name, *shape):
        arrays[name] = draw.normal(0, 0.2, shape).astype("float32")

    def dense(name, inputs, outputs):
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def norm(name):
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = np.ones(D, "float32"), np.zeros(D, "float32")

    add("bert.embeddings.word_embeddings.weight", len(tokens), D)
    add("bert.embeddings.position_embeddings.weight", config["max_position_embeddings"], D)
    add("bert.embeddings.token_type_embeddings.weight", 2, D)
    norm("bert.embeddings.LayerNorm")
    for i in range(num_layers):
        layer = f"bert.encoder.layer.{i}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            dense(f"{layer}.{part}", D, D)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", D, F)
        dense(f"{layer}.output.dense", F, D)
        norm(f"{layer}.output.LayerNorm")
    dense("cls.predictions.transform.dense", D, D)
    norm("cls.predictions.transform.LayerNorm")
    add("cls.predictions.bias", len(tokens))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
