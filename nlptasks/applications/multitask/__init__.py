"""One encoder that several classifiers and labelers share, trained on all of them at once."""
