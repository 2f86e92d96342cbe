"""How good a model is on photos of bins that it has never seen."""
