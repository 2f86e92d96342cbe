"""What others have measured, to stand beside a model's own figures."""

BENCHMARK = {"accuracy": 0.5567, "rmse": 0.930}
"""abid_challenge, 2017: ResNet34 from scratch on 325,000 photos, random split, classes 0-5."""

OLD_SYSTEM = {"accuracy": 0.3158, "loss": 1.4786}
"""The system that this project rebuilds: frozen ResNet50, 10,441 photos, random split, classes 1-5."""

ALWAYS_THREE = {"accuracy": 0.255, "rmse": 1.279}
"""Answering 3 whatever the photo shows, on the same 10,441 photos."""
