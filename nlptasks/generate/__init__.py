"""Generation: a key/value cache, searches, sampling, constraints and streaming in one compiled loop."""

from nlptasks.generate.beams import BeamSearch, Bert4kerasBeamSearch
from nlptasks.generate.constraints import allow_only, extractive, forbid, min_length, near_length, repetition_penalty
from nlptasks.generate.copying import copying, no_repeat, whole_words
from nlptasks.generate.generator import Generator
from nlptasks.generate.sampling import Sampling
from nlptasks.generate.search import Greedy, Hypothesis

__all__ = [
    "BeamSearch",
    "Bert4kerasBeamSearch",
    "Generator",
    "Greedy",
    "Hypothesis",
    "Sampling",
    "allow_only",
    "copying",
    "extractive",
    "forbid",
    "min_length",
    "near_length",
    "no_repeat",
    "repetition_penalty",
    "whole_words",
]
