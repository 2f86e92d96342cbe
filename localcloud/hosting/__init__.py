"""Endpoints: configurations, deployments that replace each other, invocations, data capture."""
