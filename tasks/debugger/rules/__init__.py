"""The rules, with SageMaker Debugger's names and parameters, on smdebug's own Rule and Trial."""
