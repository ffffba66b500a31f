"""Small classifiers and labelers, and sentences to train them on."""

from nlptasks.applications.classification.classifier import Classifier, classification_model
from nlptasks.applications.labeling.labeler import Labeler, labeling_model
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.entities import Entity, EntityText
from nlptasks.train.run import start_run

GOOD = ("菜很好吃", "房间干净", "服务热情", "味道不错", "环境很好", "很满意这里", "老板热情", "下次还来")
BAD = ("菜太咸了", "房间很脏", "服务很差", "味道难吃", "环境太吵", "很失望这里", "老板太凶", "不会再来")
NAMES, PLACES = ("沈月", "方大海", "林小舟", "郑云"), ("南山", "东湖图书馆", "北门车站")
TYPES = ("name", "place")


def tokenizer(texts):
    return Tokenizer(build_character_vocab(texts))


def encoder(tokens, seq_length, dropout=0.0):
    start_run(3)
    return transformer_from_scratch(scratch_config(tokens.vocab_size, seq_length, 22, 2, 2, 29, dropout))


def classifier(labels=("bad", "good"), seq_length=11, dropout=0.0, **settings):
    tokens = tokenizer(GOOD + BAD)
    model = classification_model(encoder(tokens, seq_length, dropout), len(labels), dropout)
    return Classifier(model, tokens, labels, seq_length, **settings)


def entity_texts():
    """Sentences that go from a name to a place, in which 东湖 is a place inside 东湖图书馆."""
    found = []
    for i, name in enumerate(NAMES):
        for j, place in enumerate(PLACES):
            text = f"昨天{name}去了{place}。" if (i + j) % 2 else f"{place}有{name}的车，A1"
            pieces = [(name, "name"), (place, "place")]
            if place.startswith("东湖"):
                pieces.append(("东湖", "place"))
            entities = sorted(Entity(text.index(p), text.index(p) + len(p), kind, p) for p, kind in pieces)
            found.append(EntityText(text, tuple(entities), f"f:{len(found) + 1}"))
    return found


def labeler(head="crf", seq_length=23, types=TYPES):
    tokens = tokenizer([text.text for text in entity_texts()])
    model = labeling_model(encoder(tokens, seq_length), head, len(types), 0.0, head_size=6)
    return Labeler(model, tokens, types, head, seq_length)
