"""The pipeline as a whole: which stages a run has, what they hand on, and the page about all of them."""
