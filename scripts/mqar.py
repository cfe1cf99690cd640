"""Multi-query associative recall (MQAR, arXiv 2312.04927): the task, small models for it, and their training.

`scripts/bench_bmojo.py mqar` compares models on it; `scripts/draw_eidetic_memory.py` draws what one of them keeps.
"""

import time
from dataclasses import asdict, dataclass, fields

GAPS = {"power": 0.01 - 1, "uniform": 0.0}  # exponent of the distances of the queries
CONTROLS = ("output", "random", "recency", "first")  # other ways to choose the tokens that are kept


@dataclass(frozen=True)
class Setting:
    """One form of the task, and what every model of it shares.

    length, pairs, vocabulary: of the sequences. gaps: `power` (distances of queries from p(x) ~ x^-0.99, so most
    queries come soon) or `uniform`. filler: `constant` (one token stands between the queries, as in Zoology's published
    configurations) or `random`. window, eidetic_size: of B'MOJO. width, layers: of B'MOJO; other models get as many
    parameters. steps, batch_size: of training; it ends early once held-out accuracy is 0.995.
    """

    length: int
    pairs: int
    vocabulary: int = 256
    gaps: str = "power"
    filler: str = "constant"
    window: int = 8
    eidetic_size: int = 16
    width: int = 64
    layers: int = 1
    steps: int = 500
    batch_size: int = 16


def setting_of(values: dict) -> Setting:
    return Setting(**{field.name: values[field.name] for field in fields(Setting)})


def mqar(setting: Setting, number: int, generator):
    """Inputs and labels, both (number, length).

    Keys (lower half of the vocabulary) and values (upper half) alternate, then each key returns once, at an even
    distance; the label there is its value, -100 elsewhere.
    """
    import torch

    half, context = setting.vocabulary // 2, 2 * setting.pairs
    weights = torch.ones(number, half - 1)
    keys = torch.multinomial(weights, setting.pairs, generator=generator) + 1
    values = torch.multinomial(weights, setting.pairs, generator=generator) + half
    distances = torch.arange(1, (setting.length - context) // 2 + 1, dtype=torch.float64) ** GAPS[setting.gaps]
    gaps = torch.multinomial(distances.expand(number, -1), setting.pairs, generator=generator)
    queries = context + 2 * gaps
    inputs = torch.zeros(number, setting.length, dtype=torch.long)
    if setting.filler == "random":
        inputs.random_(1, setting.vocabulary, generator=generator)
    inputs[:, :context] = torch.stack([keys, values], -1).flatten(1)
    inputs.scatter_(1, queries, keys)
    labels = torch.full_like(inputs, -100).scatter(1, queries, values)
    return inputs, labels


def bmojo(width: int, setting: Setting, **overrides):
    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    fields = {
        "vocab_size": setting.vocabulary, "hidden_size": width, "intermediate_size": 0,
        "num_hidden_layers": setting.layers, "num_attention_heads": 2, "sliding_window": setting.window,
        "eidetic_size": setting.eidetic_size, "ssm_head_dim": width // 2, "ssm_state_size": 16, "ssm_chunk_size": 32,
        "tie_word_embeddings": True, "qk_conv": 3, "initializer_range": 0.1,  # as Mamba-2's
    }  # fmt: skip
    return BMojoForCausalLM(BMojoConfig(**{**fields, **overrides}))


def mamba2(width: int, vocabulary: int, num_layers: int = 2, head_dim: int = 32, state_size: int = 16):
    from transformers import Mamba2Config, Mamba2ForCausalLM

    return Mamba2ForCausalLM(
        Mamba2Config(
            vocab_size=vocabulary, hidden_size=width, num_hidden_layers=num_layers, expand=2, head_dim=head_dim,
            num_heads=2 * width // head_dim, state_size=state_size, n_groups=1, chunk_size=32,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


def builders(setting: Setting) -> dict:
    """Name -> function that makes the model of a width. The controls keep as many tokens, chosen otherwise."""
    without = {"eidetic_size": 0}
    policies = {
        "output": {"innovation_target": "output"},
        "random": {"eidetic_policy": "random"},
        "recency": {"eidetic_policy": "recency"},
        "first": {"eidetic_policy": "threshold", "eidetic_threshold": 0.0},
    }
    own = {"bmojo": {}, "bmojo_f": without, "sliding_window": {**without, "fading_window": 0}, **policies}
    made = {name: lambda width, own=own: bmojo(width, setting, **own) for name, own in own.items()}
    return {**made, "mamba2": lambda width: mamba2(width, setting.vocabulary)}


def mixing_parameters(model) -> int:
    """Parameters without the embeddings."""
    return sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()


def mixing_parameters_of(build, width: int) -> int:
    import torch

    with torch.device("meta"):
        return mixing_parameters(build(width))


def matched(build, budget: int, step: int = 16):
    """The model of `build` whose parameters without embeddings come nearest to `budget`, and its width."""
    widths = range(step, 1025, step)
    counts = {}
    for width in widths:
        counts[width] = mixing_parameters_of(build, width)
        if counts[width] > 2 * budget:
            break
    best = min(counts, key=lambda width: abs(counts[width] - budget))
    return build(best), best


def at_queries(model, inputs, labels):
    """Logits where a label stands, and these labels."""
    asked = labels != -100
    hidden = model.base_model(inputs, use_cache=False).last_hidden_state[asked]
    return model.get_output_embeddings()(hidden).float(), labels[asked]


def accuracy(model, setting: Setting, seed: int, number: int = 200) -> float:
    """Share of queries answered right, on sequences that no training draws."""
    import torch

    generator = torch.Generator().manual_seed(10**6 + seed)
    device = next(model.parameters()).device
    inputs, labels = mqar(setting, number, generator)
    right = 0
    with torch.no_grad():
        for part in range(0, number, 50):
            batch = inputs[part : part + 50].to(device), labels[part : part + 50].to(device)
            logits, wanted = at_queries(model, *batch)
            right += (logits.argmax(-1) == wanted).sum().item()
    return right / (number * setting.pairs)


def held_share(model, setting: Setting, seed: int, number: int = 100) -> dict:
    """Where the values that queries ask for are: the shares in the `window` and `beyond` it, and for each layer `held`,
    the share of these last that its set holds."""
    import torch

    from timecost.models.bmojo.memory import kept_positions

    inputs, labels = mqar(setting, number, torch.Generator().manual_seed(2 * 10**6 + seed))
    inputs = inputs.to(next(model.parameters()).device)
    row, query = (labels != -100).nonzero(as_tuple=True)
    context = inputs[row, : 2 * setting.pairs : 2]
    value = 2 * (context == inputs[row, query][:, None]).long().argmax(1).cpu() + 1
    chunk = query // setting.window
    beyond = value <= query - setting.window
    shares = {"window": (~beyond).double().mean().item(), "beyond": beyond.double().mean().item()}
    kept = kept_positions(model, inputs).cpu()
    held = (kept[:, row, chunk] == value[:, None]).any(-1)[:, beyond]
    return {**shares, "held": held.double().mean(1).tolist()}


def train(model, setting: Setting, rate: float, seed: int, report_every: int = 50, patience: float = 0.995) -> dict:
    """AdamW on fresh sequences, loss at queries alone, warm-up and cosine; ends early at an accuracy of `patience`."""
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=setting.steps, pct_start=0.05)
    started, curve = time.process_time(), []
    model.train()
    for step in range(1, setting.steps + 1):
        inputs, labels = mqar(setting, setting.batch_size, generator)
        loss = F.cross_entropy(*at_queries(model, inputs.to(device), labels.to(device)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % report_every == 0 or step == setting.steps:
            model.eval()
            last = {"step": step, "loss": loss.item(), "accuracy": accuracy(model, setting, seed)}
            if getattr(model.config, "eidetic_size", 0):
                last["held"] = held_share(model, setting, seed, 50)["held"]
            model.train()
            curve.append(last)
            print(f"  step {step}: loss {loss.item():.3f}, accuracy {last['accuracy']:.3f}, held {last.get('held')}",
                  flush=True)  # fmt: skip
            if last["accuracy"] >= patience:
                break
    model.eval()
    result = {"accuracy": accuracy(model, setting, seed, 1000), "curve": curve}
    if getattr(model.config, "eidetic_size", 0):
        result["needed"] = held_share(model, setting, seed, 200)
    return {**result, "cpu_seconds": round(time.process_time() - started, 1)}


def describe(setting: Setting) -> dict:
    return asdict(setting)
