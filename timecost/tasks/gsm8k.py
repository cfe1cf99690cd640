"""GSM8K: word problems of primary-school mathematics (Cobbe et al. 2021, arXiv 2110.14168), 7,473 + 1,319.

    question   Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. ...
    solution   Natalia sold 48/2 = <<48/2=24>>24 clips in May.
               Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.
               #### 72
    answer     72

The official test split is `test`; `validation` is a part of the official train split, `train` the rest of it.
"""

from timecost.errors import UserError
from timecost.tasks.data import load_rows
from timecost.tasks.word_problems import is_validation, word_problem_task

INSTRUCTION = "Solve the problem. End with a line that holds #### and the answer, a number."


def problems(split: str) -> list[dict]:
    """The problems of a split, each with the number of its row in the file that it comes from, counted from 1.

    The difficulty is the number of calculations that the gold solution marks with `<<...>>`, 0 to 9.
    """
    source = "test" if split == "test" else "train"
    rows = load_rows(f"gsm8k/{source}.jsonl", ("openai/gsm8k", "main", source), ("question", "answer"))
    found = []
    for number, row in enumerate(rows, start=1):
        question, solution = row["question"], row["answer"]
        answer = answer_of(solution)
        if "####" not in solution or not answer:
            raise UserError(f"gsm8k {source}, row {number}: no answer after ####")
        if split == "test" or is_validation(question) == (split == "validation"):
            found.append({"question": question, "answer": answer, "solution": solution,
                          "difficulty": solution.count("<<"), "row": number})  # fmt: skip
    if not found:
        raise UserError(f"gsm8k {split} is empty: gsm8k/train.jsonl has {len(rows)} rows, none of them in this split")
    return found


def answer_of(solution: str) -> str:
    """The number after `####`, without thousands separators."""
    return solution.rpartition("####")[2].strip().replace(",", "")


GSM8K = word_problem_task("gsm8k", ("train", "validation", "test"), problems, INSTRUCTION, 512)
