"""Whole models, their settings, files and zoo."""
