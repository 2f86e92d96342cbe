"""What the README's figures come from; ``python -m benchmarks`` lists and runs them."""
