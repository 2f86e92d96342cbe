"""What runs: one flow a file, each of them ``python -m flows.<name>``."""
