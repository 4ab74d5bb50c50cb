"""Rollbook: a self-hosted contacts server that speaks JSON:API."""

__version__ = "0.1.0"
