"""HumanEval (Chen et al. 2021, arXiv 2107.03374) and HumanEval+ (Liu et al. 2023, arXiv 2305.01210), 164 problems.

A prompt is the head of a function with its docstring. HumanEval has assertions, HumanEval+ inputs, about 750 a
problem, whose outputs its canonical solution defines. Both have one split, `test`.
"""

from timecost.tasks.programs import program_task


def humaneval_problem(row: dict) -> dict:
    return {key: row[key] for key in ("prompt", "entry_point", "canonical_solution", "test")}


def humaneval_plus_problem(row: dict) -> dict:
    keys = ("prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")
    # any zero of the polynomial is right, not the one that the solution finds
    compare = "root" if row["entry_point"] == "find_zero" else "equal"
    return {key: row[key] for key in keys} | {"compare": compare}


def split_of(row: dict) -> str:
    return "test"


def question(row: dict) -> str:
    return f"Complete this Python function.\n\n```python\n{row['prompt'].strip()}\n```"


HUMANEVAL = program_task(
    "humaneval", "humaneval/HumanEval.jsonl.gz", ("openai/openai_humaneval", "openai_humaneval", "test"), ("test",),
    humaneval_problem, split_of, question,
)  # fmt: skip
# EvalPlus keeps the inputs in its own release, not on the hub.
HUMANEVAL_PLUS = program_task(
    "humaneval_plus", "humaneval_plus/HumanEvalPlus.jsonl.gz",
    ("https://raw.githubusercontent.com/evalplus/humanevalplus_release/200defce9e3429d28ca215b6dd061c0f7f31c18b/"
     "HumanEvalPlus.jsonl.gz", "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101"),
    ("test",), humaneval_plus_problem, split_of, question,
)  # fmt: skip
