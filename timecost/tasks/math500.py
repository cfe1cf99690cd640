r"""MATH-500: 500 problems of the test split of MATH (Hendrycks et al. 2021, arXiv 2103.03874), the split of Lightman et
al. 2023 (arXiv 2305.20050).

    problem    What is the smallest positive perfect cube that can be written as the sum of three consecutive integers?
    solution   The sum of three consecutive integers takes the form $(k-1)+(k)+(k+1)=3k$ ... is $\boxed{27}$.
    answer     27
    level      2

For evaluation alone: it has one split, `test`.
"""

from timecost.errors import UserError
from timecost.tasks.data import load_rows
from timecost.tasks.word_problems import word_problem_task
from timecost.verifiers.math import MathPolicy

INSTRUCTION = "Solve the problem. Put the final answer in \\boxed{}."
# The answers leave out the sign of percent. The gold solutions go on after their box, some for 1,900 characters.
POLICY = MathPolicy(answer_in="box", percent="sign_optional", max_tail_box=None)


def problems(split: str) -> list[dict]:
    """Every problem with its solution as it stands in the dataset; the difficulty is the level, 1 to 5."""
    columns = ("problem", "solution", "answer", "level")
    rows = load_rows("math500/test.jsonl", ("HuggingFaceH4/MATH-500", "default", "test"), columns)
    found = []
    for number, row in enumerate(rows, start=1):
        if not row["level"].isdecimal():
            raise UserError(f"math500, row {number}: the level is {row['level']!r}, not a number")
        found.append({"question": row["problem"], "answer": row["answer"], "solution": row["solution"],
                      "difficulty": int(row["level"])})  # fmt: skip
    return found


MATH500 = word_problem_task("math500", ("test",), problems, INSTRUCTION, 2048, POLICY)
