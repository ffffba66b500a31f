"""Filling masks: the tokens that a pretrained Transformer expects at a masked place."""
