"""Invertible maps whose volume is known, and the densities that they carry: flows. Keras alone, on both backends."""
