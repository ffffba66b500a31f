"""Why a model answers as it does: how much each token of the input counts."""
