"""Scores: predictions and truth in, numbers out."""
