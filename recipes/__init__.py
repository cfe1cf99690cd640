"""Recipes: what to train (`*.yaml`, for `timecost train --config NAME`) and on what (`accelerate/*.yaml`)."""
