"""Conditional generation: texts written under labels or vectors."""
