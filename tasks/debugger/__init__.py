"""What becomes of a debugged training's records: fetched from S3, judged by rules, told in a report."""
