"""The process that serves one model, as AWS's inference container does; ``python -m localcloud.model_server``."""
