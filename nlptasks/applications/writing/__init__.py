"""Writing with pretrained models: a T5 writes what it makes of a text, a GPT goes on from it."""
