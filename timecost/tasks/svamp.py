"""SVAMP: 1,000 short word problems with one or two operations (Patel et al. 2021, arXiv 2103.07191).

    body       Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack
    question   How much do you have to pay to buy each pack?
    equation   ( 76.0 - 25.0 )
    answer     51

For evaluation alone: it has one split, `test`, which holds all of them.
"""

from timecost.errors import UserError
from timecost.tasks.data import as_text, load_rows
from timecost.tasks.gsm8k import INSTRUCTION
from timecost.tasks.word_problems import word_problem_task


def problems(split: str) -> list[dict]:
    """Every problem; the solution is the equation, then the answer, the difficulty the operations, 1 or 2."""
    columns = ("Body", "Question", "Equation", "Answer")
    rows = load_rows("svamp/SVAMP.json", ("ChilleD/SVAMP", "default", "train+test"), columns)
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            answer = as_text(float(row["Answer"]))  # the hub has text, "51.0"
        except ValueError:
            raise UserError(f"svamp, row {number}: the answer is {row['Answer']!r}, not a number") from None
        question = f"{row['Body'].rstrip('. ')}. {row['Question']}"
        solution = f"{row['Equation']} = {answer}\n#### {answer}"
        difficulty = row["Equation"].count("(")
        found.append({"question": question, "answer": answer, "solution": solution, "difficulty": difficulty})
    return found


SVAMP = word_problem_task("svamp", ("test",), problems, INSTRUCTION, 256)
