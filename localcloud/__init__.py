"""An embedded stand-in for the parts of AWS that the pipeline uses."""
