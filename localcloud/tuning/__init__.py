"""Tuning jobs: the search over hyperparameters, on top of training jobs."""
