"""What is timed by `experiments.benchmark`, one file for each part."""
