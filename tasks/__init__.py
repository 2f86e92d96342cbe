"""What flows are made of: thin Prefect tasks over plain functions, one concern a file."""
