"""What an optimizer is extended with, beyond Keras' own: `extend`, and the kinds that Keras lacks."""
