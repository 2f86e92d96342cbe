"""The nightly count: find the new photos, count them, judge the record by them, report, and tell."""
