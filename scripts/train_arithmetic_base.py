"""Trains the embedded base model with TRL's SFTTrainer, on traces of every style: first the skills, then the shares.

    python scripts/train_arithmetic_base.py --config recipes/supervised/arithmetic_base.yaml
    python scripts/train_arithmetic_base.py --config recipes/supervised/arithmetic_base_shares.yaml

The second run goes on from the first and sets how often each style is used: quick ones more often on easy problems,
though every style on every problem. A model whose habits know nothing of difficulty has to find it out from rewards.

    python scripts/train_arithmetic_base.py --config recipes/supervised/arithmetic_base_bmojo.yaml

turns the result into a B'MOJO, whose window is shorter than a prompt, and trains that.
"""

import random
from dataclasses import dataclass, field

from timecost.budget import budget_token, smallest_rung
from timecost.cost import split_tokens
from timecost.tasks import arithmetic, resolve_model


@dataclass
class BaseArguments:
    """Architecture of the model (Llama or B'MOJO) and composition of its training traces."""

    num_traces: int = field(metadata={"help": "Number of traces to train on."})
    shares_easy: list[float] = field(
        metadata={"help": "Shares of the styles on 2 operands: direct, midway, pairs, ..."}
    )
    shares_hard: list[float] = field(metadata={"help": "The same on 10 operands; those between are interpolated."})
    early_share: float = field(metadata={"help": "Share of traces closed early at a random step."})
    slip_share: float = field(metadata={"help": "Share of checked traces whose first pass holds a slip."})
    easy_weight: float = field(metadata={"help": "An expression of d operands is drawn with weight min(1, this * d)."})
    haste: float = field(metadata={"help": "Chance of a slip in pairs, for each operation beyond the second."})
    budget_share: float = field(metadata={"help": "Share of traces labelled with a budget that they keep within."})
    curriculum_fraction: float = field(metadata={"help": "Fraction of training over which the expressions grow."})
    hidden_size: int = field(default=128, metadata={"help": "Width of a new model."})
    intermediate_size: int = field(default=320, metadata={"help": "Width of its feed-forward layers."})
    num_hidden_layers: int = field(default=4, metadata={"help": "Number of its layers."})
    num_attention_heads: int = field(default=4, metadata={"help": "Number of its attention heads."})
    num_key_value_heads: int = field(default=1, metadata={"help": "Number of its heads of keys and values."})
    model_name_or_path: str | None = field(default=None, metadata={"help": "Folder of a model to go on from."})
    bmojo: dict | None = field(
        default=None, metadata={"help": "Fields of BMojoConfig: the model to go on from, a Llama, becomes a B'MOJO."}
    )


def make_traces(args: BaseArguments, batch_size: int, step_size: int, seed: int):
    """Yields `{"input_ids", "labels"}` of prompt and trace; the prompt and the slips are not trained on (-100).

    The order is a curriculum: the largest number of operands grows from 3 to 10 over the first `curriculum_fraction`.
    Without it a model of this size takes many times longer to find out where in the prompt the next operand stands.
    Within the `step_size` traces of one optimizer step those of like length are neighbours, so that a batch holds
    little padding while every token of the step weighs the same.
    """
    tokenizer = arithmetic.build_tokenizer()
    rng = random.Random(f"traces {seed}")
    for start in range(0, args.num_traces, step_size):
        hardest = arithmetic.DIFFICULTIES[-1]
        if args.curriculum_fraction:
            hardest = min(hardest, 3 + int(8 * start / args.num_traces / args.curriculum_fraction))
        step = [make_trace(args, tokenizer, rng, hardest) for _ in range(min(step_size, args.num_traces - start))]
        step.sort(key=lambda row: len(row["input_ids"]))
        batches = [step[i : i + batch_size] for i in range(0, len(step), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield from batch


def make_trace(args: BaseArguments, tokenizer, rng: random.Random, hardest: int) -> dict[str, list[int]]:
    easiest = arithmetic.DIFFICULTIES[0]
    difficulties = range(easiest, hardest + 1)
    # There are few expressions of two or three operands: seen too often, they are learned by heart.
    difficulty = rng.choices(difficulties, [min(1.0, args.easy_weight * d) for d in difficulties])[0]
    problem = arithmetic.sample_problem(rng, difficulty)
    while arithmetic.split_of(problem) != "train":
        problem = arithmetic.sample_problem(rng, difficulty)
    hardness = (difficulty - easiest) / (arithmetic.DIFFICULTIES[-1] - easiest)
    shares = [(1 - hardness) * a + hardness * b for a, b in zip(args.shares_easy, args.shares_hard, strict=True)]
    by_style = dict(zip(arithmetic.STYLES, shares, strict=True))
    trace = arithmetic.sample_trace(problem, rng, by_style, args.early_share, args.slip_share, args.haste)
    pieces = [(tokenizer(text, add_special_tokens=False)["input_ids"], trained) for text, trained in trace]
    budget = hindsight_budget(args, tokenizer, rng, [token for ids, _ in pieces for token in ids])
    input_ids = tokenizer(budget + problem.prompt)["input_ids"]
    labels = [-100] * len(input_ids)
    for ids, trained in pieces:
        input_ids += ids
        labels += ids if trained else [-100] * len(ids)
    return {"input_ids": [*input_ids, tokenizer.eos_token_id], "labels": [*labels, tokenizer.eos_token_id]}


def hindsight_budget(args: BaseArguments, tokenizer, rng: random.Random, completion_ids: list[int]) -> str:
    """The token of the smallest rung that the thinking fits, of no bound for a quarter of them, or no token."""
    if rng.random() >= args.budget_share:
        return ""
    think_end_id = tokenizer.convert_tokens_to_ids(arithmetic.THINK_END)
    num_thinking, _ = split_tokens(completion_ids, think_end_id)
    return budget_token(None if rng.random() < 0.25 else smallest_rung(num_thinking, arithmetic.BUDGETS))


def new_model(args: BaseArguments):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = arithmetic.build_tokenizer()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=args.hidden_size,
            intermediate_size=args.intermediate_size,
            num_hidden_layers=args.num_hidden_layers,
            num_attention_heads=args.num_attention_heads,
            num_key_value_heads=args.num_key_value_heads,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            budgets=list(arithmetic.BUDGETS),
        )
    )


def first_model(args: BaseArguments):
    """The model that training starts from."""
    from transformers import AutoModelForCausalLM

    from timecost.models.bmojo import from_transformer

    if not args.model_name_or_path:
        return new_model(args)
    model = AutoModelForCausalLM.from_pretrained(resolve_model(args.model_name_or_path), dtype="float32")
    if args.bmojo is not None:
        budgets = model.config.budgets
        model = from_transformer(model, **args.bmojo)
        model.config.budgets = budgets
    return model


def main() -> None:
    from datasets import Dataset
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer, TrlParser

    args, config = TrlParser((BaseArguments, SFTConfig)).parse_args_and_config()
    set_seed(config.seed)
    tokenizer = arithmetic.build_tokenizer()
    model = first_model(args)
    batch_size = config.per_device_train_batch_size
    step_size = batch_size * config.gradient_accumulation_steps
    gen_kwargs = {"args": args, "batch_size": batch_size, "step_size": step_size, "seed": config.seed}
    traces = Dataset.from_generator(make_traces, gen_kwargs=gen_kwargs)
    trainer = SFTTrainer(model=model, args=config, train_dataset=traces, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(config.output_dir)


if __name__ == "__main__":
    main()
