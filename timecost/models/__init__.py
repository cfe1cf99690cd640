"""Backbones of our own, as Hugging Face model classes. Each folder can be copied into a checkpoint and used alone."""
