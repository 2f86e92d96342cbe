"""The review page: a person counts what the night flagged, without seeing what the record expects."""
