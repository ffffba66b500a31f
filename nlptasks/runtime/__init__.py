"""Runs exported models on onnxruntime: no Keras and no backend is imported."""
