"""Evaluation: sample a model on tasks, measure accuracy, tokens and speed-up with intervals, write the report page."""
