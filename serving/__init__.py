"""What is sent to the inference container, and its client."""
