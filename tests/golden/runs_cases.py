"""The runs of `runs_0_1`: how version 0.1 was told to train, and what their models are asked.

Asked by public names alone, so that any version can be asked.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

import nlptasks

RUNS = Path(__file__).parent / "runs_0_1"
ANSWERS = "answers.json"
SCRATCH = "--hidden-size 8 --num-layers 1 --num-heads 2 --ffn-size 8"
REVIEWS = "--train inputs/reviews.tsv --columns category sentiment text --batch-size 8 --max-length 32"
QUICK = "--learning-rate 1e-2 --epochs 2"
# name: script, arguments, how often the loop looks until it is told to stop; batches of few widths compile quickly
TRAIN = {
    "reading": (
        "tasks/reading_comprehension.py",
        "train --train inputs/reading_train.json --valid inputs/reading_valid.json --passage-length 16 --seed 3 "
        f"--question-length 10 --answer-length 6 --negative-ratio 0.4 --batch-size 8 {QUICK} {SCRATCH}",
        9,
    ),
    "segmentation": (
        "tasks/word_segmentation.py",
        "train --train inputs/words_fine.txt inputs/words_coarse.txt --standard fine coarse --hold-out 5 --unit-size 4 "
        f"--min-count 1 --min-pair-count 1 --batch-units 160 --channels 4 4 --pair-size 4 --seed 5 {QUICK}",
        13,
    ),
    "similarity": (
        "tasks/sentence_similarity.py",
        "train --train inputs/groups.tsv --hold-out 5 --min-count 1 --batch-size 8 --seq-length 16 --vector-size 8 "
        f"--embedding-size 8 --seed 7 {QUICK}",
        11,
    ),
    "conditional": (
        "tasks/conditional_generation.py",
        f"train {REVIEWS} --hold-out 0.1 --label-columns category sentiment --label-size 4 --condition-hidden-size 4 "
        f"--label-names sentiment:0=negative,1=positive --seed 10 {QUICK} {SCRATCH}",
        11,
    ),
    "classification": (
        "tasks/text_classification.py",
        f"train {REVIEWS} --valid inputs/reviews_valid.tsv --label category --accumulate 2 --ema 0.8 --seed 11 {QUICK} "
        f"{SCRATCH}",
        8,
    ),
    "labeling": (
        "tasks/sequence_labeling.py",
        "train --train inputs/entities.jsonl --valid inputs/entities.jsonl --batch-size 8 --max-length 24 --seed 14 "
        f"--learning-rate 3e-2 --epochs 8 --dropout 0 {SCRATCH}",
        39,
    ),
    "compression": (
        "tasks/theseus_compression.py",
        "train --task classification --train inputs/pairs.jsonl --valid inputs/pairs.jsonl --second-text second "
        "--batch-size 8 --max-length 32 --checkpoint inputs/checkpoint --successor-layers 2 --learning-rate 1e-2 "
        "--predecessor-epochs 1 --replacement-epochs 2 --successor-epochs 2 --seed 16",
        15,
    ),
    "pretraining": (
        "pretraining/pretrain.py",
        "--shards inputs/shards --config inputs/pretraining.json --num-steps 12 --batch-size 4 --keep 1 --log-every 2 "
        "--learning-rate 1e-2 --valid-rows 8 --valid-every 6 --save-every 4 --mesh data=1 --peak-tflops 1 --seed 19",
        6,
    ),
}


def backend_of(name: str) -> str:
    """The backend that a run is made and tested on."""
    return "jax" if name == "pretraining" else "tensorflow"


def answers(directory: Path) -> list:
    """What the model in a run's directory says, as JSON values."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if "nlptasks" not in config or "task" not in config["nlptasks"]:
        return _logits(directory)
    application = nlptasks.load(directory)
    said = list(ASKED[type(application).__name__](application))
    return json.loads(json.dumps(said, ensure_ascii=False, default=_plain))


def _logits(directory):
    model = nlptasks.build_transformer_model(directory, directory, with_mlm="linear")
    token_ids = np.array([[2, 110, 4, 131, 120, 3]])
    return np.asarray(model([token_ids, np.zeros_like(token_ids)]))[0, :, :5].tolist()


def _plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else float(value)


def _reader(reader):
    yield reader.answer("沈月白是哪里人？", ["沈月白生于1921年。", "沈月白的老家在青石县。"])


def _segmenter(segmenter):
    for standard in segmenter.standards:
        yield segmenter.segment("沈月白昨天在青石县买了3本书，1987年的。", standard)


def _encoder(encoder):
    texts = ["怎样修改陶安的密码", "陶安的密码怎么改", "南山几点开门"]
    yield from encoder.encode(texts[:1]).tolist()
    yield [encoder.similarity(texts[0], text) for text in texts[1:]]
    encoder.add(texts)
    yield [match.text for match in encoder.most_similar("密码怎么改", 2)]


def _writer(writer):
    scores, lengths = writer.score(["房间很安静。"], [{"category": "酒店", "sentiment": "positive"}])
    yield from (scores.tolist(), lengths.tolist())
    yield writer.generate({"sentiment": "negative"}, count=2, seed=3, top_k=3, max_length=6)


def _classifier(classifier):
    for text in ("房间很安静，值得推荐！", "苹果又酸又涩。"):
        found = classifier.classify((text, text) if classifier.pair else text)
        yield [list(found.labels), dict(found.scores)]


def _labeler(labeler):
    found = labeler.label("听说沈月白明天坐船离开青石县，去永溪镇。")
    yield [{name: getattr(entity, name) for name in ("start", "end", "type", "text")} for entity in found]


ASKED = {
    "Reader": _reader,
    "Segmenter": _segmenter,
    "SentenceEncoder": _encoder,
    "ConditionalGenerator": _writer,
    "Classifier": _classifier,
    "Labeler": _labeler,
}

if __name__ == "__main__":
    print(json.dumps(answers(Path(sys.argv[1])), ensure_ascii=False))
