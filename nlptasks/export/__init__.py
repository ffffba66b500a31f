"""Writes models for other runtimes: `nlptasks export`. Nothing here is needed to run what was written."""
