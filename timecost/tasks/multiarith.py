"""MultiArith: 600 word problems of several operations (Roy and Roth 2015, arXiv 1608.01413).

    input      For Halloween Debby and her sister combined the candy they received. Debby had 32 pieces ...
    target     39

For evaluation alone: it has one split, `test`, which holds all of them.
"""

from timecost.tasks.data import load_rows
from timecost.tasks.gsm8k import INSTRUCTION
from timecost.tasks.word_problems import word_problem_task

NAMES = {"input": "question", "target": "final_ans"}  # of the columns: in the file -> on the hub


def problems(split: str) -> list[dict]:
    """Every problem; the solution is the answer alone, as the dataset has none."""
    rows = load_rows("mawps/multiarith.jsonl", ("ChilleD/MultiArith", "default", "train+test"), tuple(NAMES), NAMES)
    return [{"question": row["input"], "answer": row["target"], "solution": f"#### {row['target']}"} for row in rows]


MULTIARITH = word_problem_task("multiarith", ("test",), problems, INSTRUCTION, 256)
