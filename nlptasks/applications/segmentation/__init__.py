"""Chinese word segmentation by a fully convolutional network."""
