"""Names of the files that make a model."""

WEIGHTS_FILE = "model.pth"
CARD_FILE = "model.json"
