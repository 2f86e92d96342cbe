"""The rules, with SageMaker Debugger's names and parameters, on smdebug's own Rule and Trial.

A rule inherits `TensorRule`, or `ProfileRule` where it judges the machine; the arguments of its ``__init__`` that have
defaults are its parameters.
"""
