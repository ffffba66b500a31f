"""Latent text: sentences as vectors that texts are written from again."""
