"""Rendered bin photos in ABID's layout: the embedded default, and what tests and scale tests feed on."""
