"""What is sent to the training container: model, data, loop and the entry scripts."""
