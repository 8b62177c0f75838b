"""Real data sets: their folds, the models beside ours, what is averaged."""
