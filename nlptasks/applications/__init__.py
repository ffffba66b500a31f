"""The applications: a folder each, and beside them what several share."""
