"""Applications as a service over HTTP, with a page to try them. docs/serving.md describes it."""
