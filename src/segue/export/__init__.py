"""Models as files that run without Segue: one graph each, checked against the model before it is there."""
