"""Launcher for `accelerate launch` and `torchrun`; the work is done in timecost/train.py.

accelerate launch --config_file recipes/accelerate/multi_gpu.yaml scripts/train.py --config gsm8k_qwen3
"""

import sys

from timecost.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
