"""GSM8K with completions that are written down instead of sampled, so that runs with one and two processes compare.

`--task fixed_gsm8k:TASK` replaces sampling in each process: member i of a problem's group answers correctly when i is
even, and pads its thinking to a length that depends on i and on the problem. Everything after that is the real run.
The advantages of all processes, step after step, are written to advantages.json in the output folder.
"""

import json
from pathlib import Path

from timecost.tasks.gsm8k import GSM8K
from timecost.trainer import TimeCostTrainer

TASK = GSM8K


def written_completion(tokenizer, question: str, answer: str, i: int) -> list[int]:
    thinking = "." * (1 + 3 * i + len(question) % 7)
    said = answer if i % 2 == 0 else "no number"
    return tokenizer.encode(f"{thinking}</think>#### {said}", add_special_tokens=False) + [tokenizer.eos_token_id]


def generate(self, prompt_ids, *args, **kwargs):
    """In place of GRPOTrainer's method of sampling; rows of a group follow one another over all processes."""
    answers = {row["prompt"][-1]["content"]: row["answer"] for row in [*self.train_dataset, *(self.eval_dataset or [])]}
    first = self.accelerator.process_index * len(prompt_ids)
    completions = []
    for row, ids in enumerate(prompt_ids, start=first):
        prompt = self.processing_class.decode(ids)
        question = next(question for question in answers if question in prompt)
        completions.append(written_completion(self.processing_class, question, answers[question], row % 4))
    return completions, None


def score_and_write(self, inputs):
    output = score(self, inputs)
    if self.model.training and self.is_world_process_zero():
        path = Path(self.args.output_dir, "advantages.json")
        steps = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*steps, list(self._logs["advantages"])]))
    return output


score = TimeCostTrainer._generate_and_score_completions
TimeCostTrainer._generate_and_score_completions = score_and_write
TimeCostTrainer._generate_single_turn = generate
