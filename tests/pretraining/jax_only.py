"""Imported first by tests of what runs on JAX alone."""

import keras
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("pretraining runs on JAX: KERAS_BACKEND=jax", allow_module_level=True)
for module in ("jax", "grain", "orbax.checkpoint"):
    pytest.importorskip(module, reason="not installed; pyproject.toml has it in the extra `pretraining`")
