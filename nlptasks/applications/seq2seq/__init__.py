"""Sequence to sequence: titles, summaries, questions, formulas; a text that is written for another."""
