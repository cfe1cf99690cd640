"""Trains the embedded base model with TRL's SFTTrainer, on traces of every style: from scratch, then calibrated.

    python scripts/train_arithmetic_base.py --config recipes/arithmetic_base.yaml
    python scripts/train_arithmetic_base.py --config recipes/arithmetic_base_calibrate.yaml

The first run learns arithmetic in batches of like lengths, which weigh a token of a short trace more than one of a
long trace. The second accumulates the whole range of lengths into each step, so that every token weighs the same and
the shares of the styles come out as asked.
"""

import random
from dataclasses import dataclass, field

from timecost.tasks import arithmetic


@dataclass
class BaseArguments:
    """Architecture of the model (Llama) and composition of its training traces."""

    hidden_size: int = field(metadata={"help": "Width of the model."})
    intermediate_size: int = field(metadata={"help": "Width of the feed-forward layers."})
    num_hidden_layers: int = field(metadata={"help": "Number of layers."})
    num_attention_heads: int = field(metadata={"help": "Number of attention heads."})
    num_key_value_heads: int = field(metadata={"help": "Number of heads of keys and values (grouped queries)."})
    num_traces: int = field(metadata={"help": "Number of traces to train on."})
    share_direct: float = field(metadata={"help": "Share of traces that answer at once."})
    share_jumps: float = field(metadata={"help": "Share of traces that write the result of every second operation."})
    share_pairs: float = field(metadata={"help": "Share of traces that write two operations a step."})
    share_steps: float = field(metadata={"help": "Share of traces that write one operation a step."})
    share_checked: float = field(metadata={"help": "Share of traces that check themselves."})
    early_share: float = field(metadata={"help": "Share of traces closed early at a random step."})
    slip_share: float = field(metadata={"help": "Share of checked traces whose first pass holds a slip."})
    curriculum_fraction: float = field(
        metadata={"help": "Fraction of training over which the expressions grow; 0: none."}
    )
    model_name_or_path: str | None = field(default=None, metadata={"help": "Folder of a model to go on from."})


def make_traces(args: BaseArguments, batch_size: int, block_size: int, seed: int):
    """Yields `{"input_ids", "labels"}` of prompt and trace; the prompt and the slips are not trained on (-100).

    The order is a curriculum: the largest number of operands grows from 3 to 10 over the first `curriculum_fraction`.
    Without it a model of this size takes many times longer to find out where in the prompt the next operand stands.
    Within a block of `block_size` traces those of like length are neighbours, so that a batch holds little padding.
    """
    tokenizer = arithmetic.build_tokenizer()
    rng = random.Random(f"traces {seed}")
    shares = {style: getattr(args, f"share_{style}") for style in arithmetic.STYLES}
    for start in range(0, args.num_traces, block_size):
        grown = start >= args.curriculum_fraction * args.num_traces
        progress = 1.0 if grown else start / (args.curriculum_fraction * args.num_traces)
        hardest = min(arithmetic.DIFFICULTIES[-1], 3 + int(8 * progress))
        block = []
        for _ in range(min(block_size, args.num_traces - start)):
            difficulty = rng.randint(arithmetic.DIFFICULTIES[0], hardest)
            problem = arithmetic.sample_problem(rng, difficulty)
            while arithmetic.split_of(problem) != "train":
                problem = arithmetic.sample_problem(rng, difficulty)
            input_ids = tokenizer(problem.prompt)["input_ids"]
            labels = [-100] * len(input_ids)
            for text, trained in arithmetic.sample_trace(problem, rng, shares, args.early_share, args.slip_share):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                input_ids += ids
                labels += ids if trained else [-100] * len(ids)
            block.append(
                {"input_ids": [*input_ids, tokenizer.eos_token_id], "labels": [*labels, tokenizer.eos_token_id]}
            )
        block.sort(key=lambda row: len(row["input_ids"]))
        batches = [block[i : i + batch_size] for i in range(0, len(block), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield from batch


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
        )
    )


def main() -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer, TrlParser

    args, config = TrlParser((BaseArguments, SFTConfig)).parse_args_and_config()
    set_seed(config.seed)
    tokenizer = arithmetic.build_tokenizer()
    model = (
        AutoModelForCausalLM.from_pretrained(args.model_name_or_path) if args.model_name_or_path else new_model(args)
    )
    batch_size, accumulated = config.per_device_train_batch_size, config.gradient_accumulation_steps
    block_size = batch_size * (accumulated if accumulated > 1 else 16)
    gen_kwargs = {"args": args, "batch_size": batch_size, "block_size": block_size, "seed": config.seed}
    traces = Dataset.from_generator(make_traces, gen_kwargs=gen_kwargs)
    trainer = SFTTrainer(model=model, args=config, train_dataset=traces, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(config.output_dir)


if __name__ == "__main__":
    main()
