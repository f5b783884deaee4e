"""The loops: train, predict, evaluate, and the files that they read and write."""
