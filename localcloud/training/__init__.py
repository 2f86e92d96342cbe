"""Training jobs: the container contract, the run, and what is left in S3."""
