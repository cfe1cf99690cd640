"""Scores for lm-evaluation-harness, which loads this file beside the tasks that name it."""

from lm_eval.tasks.hendrycks_math.utils import is_equiv, last_boxed_only_string, remove_boxed


def process_math(doc: dict, results: list[str]) -> dict[str, int]:
    """exact_match of the last box of a completion with the answer, by the harness's own normalization."""
    box = last_boxed_only_string(results[0])
    return {"exact_match": int(box is not None and is_equiv(remove_boxed(box), doc["answer"]))}
