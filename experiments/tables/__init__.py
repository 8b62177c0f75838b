"""Finished runs side by side: sweeps, the published tables, their cells."""
