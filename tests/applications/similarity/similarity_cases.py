"""Sentences written for these tests, and small models."""

import numpy as np

from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.gru import GruModel
from nlptasks.text.characters import CharacterVocab

GROUPS = {
    "password": ["怎样修改我的密码", "密码怎么改", "改密码在哪里改"],
    "rain": ["今天会下雨吗", "今天有雨吗"],
    "pork": ["怎么做红烧肉", "红烧肉的做法是什么", "请教红烧肉怎么烧"],
    "train": ["这趟车几点开", "这趟车什么时候出发"],
    "key": ["钥匙丢了怎么办", "找不到钥匙了该怎么办", "把钥匙弄丢了"],
    "bank": ["怎么办银行卡", "办一张银行卡要什么材料"],
    "price": ["这件衣服多少钱", "衣服怎么卖"],
}
SENTENCES = [sentence for group in GROUPS.values() for sentence in group]
LABELS = np.repeat(np.arange(len(GROUPS)), [len(group) for group in GROUPS.values()])


def write_groups(path, groups=GROUPS):
    path.write_text("".join(f"{name}\t{s}\n" for name, group in groups.items() for s in group), encoding="utf-8")
    return path


def gru_arrays(vocab_size: int, embedding_size: int = 5, size: int = 7, seed: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {
        "embeddings": (vocab_size, embedding_size),
        "kernel": (embedding_size, 3 * size),
        "recurrent_kernel": (size, 3 * size),
        "bias": (2, 3 * size),
    }
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def random_encoder(seed: int = 3, size: int = 7, seq_length: int = 64) -> SentenceEncoder:
    vocab = CharacterVocab.build(SENTENCES)
    return SentenceEncoder(GruModel(vocab, gru_arrays(len(vocab), size=size, seed=seed), seq_length))
