"""Scorers: numpy and the standard library only."""
