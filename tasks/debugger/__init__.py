"""What becomes of a debugged training's records: fetched from S3, judged by rules, told in a report."""

import os

# Read by smdebug when it is imported: it would tell every step of every rule, and wait for records that are complete.
os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")
os.environ.setdefault("SMDEBUG_TRAINING_END_DELAY_REFRESH", "0")
