"""A run as one page to look at: python -m experiments.report (docs/report.md)."""
