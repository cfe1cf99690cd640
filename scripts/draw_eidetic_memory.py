"""Draws which tokens a B'MOJO keeps: docs/images/eidetic_memory.png.

    python scripts/draw_eidetic_memory.py                                               # recall: trains a small model
    python scripts/draw_eidetic_memory.py --model_name_or_path arithmetic_base_bmojo --expression a7b+3c*2

Across: the tokens of one sequence; down: the chunks of W tokens in which queries stand. Colours say how the queries of
a chunk see each token: in the window, as an SSM output, kept in the set, or not at all but for the SSM's state.
"""

import argparse
from pathlib import Path

from mqar import Setting, builders, held_share, mqar, train


def recall_model(steps: int, rate: float):
    """A small model trained on associative recall, a sequence, labels of its tokens, and which of them are needed."""
    import torch

    setting = Setting(64, 8, gaps="uniform", eidetic_size=16, steps=steps)
    torch.manual_seed(0)
    model = builders(setting)["bmojo"](setting.width)
    result = train(model, setting, rate, seed=0)
    print(f"accuracy {result['accuracy']:.3f}, {held_share(model, setting, seed=0)}")
    inputs, labels = mqar(setting, 1, torch.Generator().manual_seed(7))
    keys = inputs[0, : 2 * setting.pairs : 2].tolist()
    names = {key: f"k{i + 1}" for i, key in enumerate(keys)}
    texts = [names.get(token, "") for token in inputs[0].tolist()]
    for i in range(setting.pairs):
        texts[2 * i + 1] = f"v{i + 1}"
    texts = [f"{text}?" if labels[0, t] != -100 else text for t, text in enumerate(texts)]
    needed = [t % 2 == 1 and t < 2 * setting.pairs for t in range(setting.length)]
    about = f"associative recall, accuracy {result['accuracy']:.2f}: values v in blue, questions k?"
    return model, inputs, texts, needed, about


def written_expression(name: str, expression: str):
    """The same for a trained language model of the arithmetic task, which writes its steps."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import timecost.models.bmojo  # noqa: F401  registers the class
    from timecost.tasks import resolve_model

    folder = resolve_model(name)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = tokenizer(f"{expression}=<think>", return_tensors="pt")
    torch.manual_seed(0)
    sequence = model.generate(**prompt, max_new_tokens=128, do_sample=True)
    texts = [tokenizer.decode([token]).replace("<think>", "▸").replace("</think>", "◂") for token in sequence[0]]
    needed = [t < prompt["input_ids"].shape[1] and (text.isdigit() or text in "+-*") for t, text in enumerate(texts)]
    return model, sequence, texts, needed, f"{expression}: operands in blue, then the model's own steps"


def draw(model, inputs, texts: list[str], needed: list[bool], about: str):
    """One panel for each layer."""
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from timecost.evaluation.figures import COLOURS, INK, LINE, PAPER, in_our_style

    names = ("to come", "in the state alone", "fading memory", "window", "kept by the innovation test")
    colours = (PAPER, LINE, "#d6e8f5", "#8dbfe0", COLOURS[1])

    @in_our_style
    def figure():
        import torch

        from timecost.models.bmojo.memory import kept_positions

        kept, window, length = kept_positions(model, inputs)[:, 0], model.config.sliding_window, len(texts)
        layers, chunks = kept.shape[:2]
        size = (max(7.0, 0.17 * length), 0.24 * chunks * layers + 1.3)
        result, panels = plt.subplots(layers, 1, figsize=size, squeeze=False, layout="constrained")
        for layer, axes in enumerate(panels[:, 0]):
            cells = torch.zeros(chunks, length)
            for chunk in range(chunks):
                cells[chunk, : chunk * window] = 1
                cells[chunk, max(0, (chunk - 2) * window + 1) : chunk * window] = 2
                cells[chunk, max(0, (chunk - 1) * window + 1) : (chunk + 1) * window] = 3
                cells[chunk, kept[layer, chunk][kept[layer, chunk] >= 0]] = 4  # seen where the window has left it
            axes.pcolormesh(cells, cmap=ListedColormap(colours), vmin=0, vmax=4, edgecolors=PAPER, linewidth=0.6)
            axes.invert_yaxis()
            axes.grid(False)
            axes.set_yticks([i + 0.5 for i in range(chunks)], [str(i * window) for i in range(chunks)], fontsize=7)
            axes.set_xticks(
                [i + 0.5 for i in range(length)], texts, fontsize=7, rotation=90 if max(map(len, texts)) > 1 else 0
            )
            for label, wanted in zip(axes.get_xticklabels(), needed, strict=True):
                label.set_color(COLOURS[0] if wanted else INK)
            axes.set_ylabel("queries from" if layers == 1 else f"layer {layer + 1}", fontsize=8)
        result.suptitle(about, fontsize=10)
        patches = [Patch(color=colour, label=name) for colour, name in zip(colours[1:], names[1:], strict=True)]
        result.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8)
        return result

    return figure()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", help="a trained B'MOJO of the arithmetic task; without: recall")
    parser.add_argument("--expression", default="a7b-3c*2d+1e*4f-9g+6h*3")
    parser.add_argument("--steps", type=int, default=400, help="of training, for recall")
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--output_path", type=Path, default=Path("docs/images/eidetic_memory.png"))
    args = parser.parse_args()
    name = args.model_name_or_path
    drawn = written_expression(name, args.expression) if name else recall_model(args.steps, args.rate)
    draw(*drawn).savefig(args.output_path)


if __name__ == "__main__":
    main()
