"""Batch transform jobs: from objects to records, requests and outputs."""
