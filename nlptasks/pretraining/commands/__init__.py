"""Pretraining: from raw text to shards of rows, and from shards to a trained BERT."""

from nlptasks.pretraining.commands.shards import MakeShards
from nlptasks.pretraining.commands.topology import Check
from nlptasks.pretraining.commands.train import Pretrain
from nlptasks.pretraining.commands.vocab import TrainVocab

COMMANDS = {"vocab": TrainVocab, "shards": MakeShards, "train": Pretrain, "topology": Check}
