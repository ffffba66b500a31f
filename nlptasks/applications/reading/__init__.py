"""Reading comprehension: an answer out of several passages."""
