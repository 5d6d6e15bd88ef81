"""What this GPU reaches at most: copies, matrix products, attention. python ceilings.py OUT.json

Each figure is the median of a few timed calls, written as soon as it is there: a device that is slower than its data
sheet, or a kernel that is missing, is seen here before any network is blamed.
"""

import json
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CALLS, WARM = 10, 3
WIDTH, TOKENS, BATCH, HEADS, HEAD = 1152, 256, 256, 16, 72  # DiT-XL/2 at batch 256 on 32x32 latents
SQUARE = 8192


def seconds(call):
    """The median time of a call by CUDA's own clock."""
    for _ in range(WARM):
        call()
    times = []
    for _ in range(CALLS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return statistics.median(times)


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def product(rows, inner, columns, dtype=torch.bfloat16):
    """TFLOP/s of (rows, inner) @ (inner, columns)."""
    a, b = normal(rows, inner, dtype=dtype), normal(inner, columns, dtype=dtype)
    return 2e-12 * rows * inner * columns / seconds(lambda: a @ b)


def copy():
    """TB/s read and written."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2e-12 * source.numel() / seconds(lambda: target.copy_(source))


def attention(backend, dtype=torch.bfloat16, bias=False, backward=True):
    """TFLOP/s of forward and backward, by one kernel; with a learned bias, its gradient, too."""
    q, k, v = (normal(BATCH, HEADS, TOKENS, HEAD, dtype=dtype).requires_grad_() for _ in range(3))
    learned = normal(1, HEADS, TOKENS, TOKENS, dtype=dtype).requires_grad_() if bias else None

    def call():
        mask = None if learned is None else learned.expand(BATCH, -1, -1, -1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        if backward:
            out.backward(out)

    with sdpa_kernel(backend):
        return 3 * 4e-12 * BATCH * HEADS * TOKENS**2 * HEAD / seconds(call)


def explicit(dtype, bias=False):
    """The same, written out: two products and a softmax."""
    q, k, v = (normal(BATCH, HEADS, TOKENS, HEAD, dtype=dtype).requires_grad_() for _ in range(3))
    learned = normal(HEADS, TOKENS, TOKENS, dtype=dtype).requires_grad_() if bias else 0.0

    def call():
        out = ((q * HEAD**-0.5) @ k.mT + learned).softmax(-1) @ v
        out.backward(out)

    return 3 * 4e-12 * BATCH * HEADS * TOKENS**2 * HEAD / seconds(call)


def flex():
    """The bias looked up inside a compiled kernel."""
    from torch.nn.attention.flex_attention import flex_attention

    q, k, v = (normal(BATCH, HEADS, TOKENS, HEAD).requires_grad_() for _ in range(3))
    table = normal(HEADS, TOKENS, TOKENS).requires_grad_()
    compiled = torch.compile(flex_attention)

    def call():
        out = compiled(q, k, v, score_mod=lambda score, n, h, i, j: score + table[h, i, j])
        out.backward(out)

    return 3 * 4e-12 * BATCH * HEADS * TOKENS**2 * HEAD / seconds(call)


def tf32(call):
    """The same with TF32 allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        return call()
    finally:
        torch.set_float32_matmul_precision(before)


ROWS = BATCH * TOKENS
FIGURES = {
    "copy TB/s": copy,
    "bf16 8192^3": lambda: product(SQUARE, SQUARE, SQUARE),
    "tf32 8192^3": lambda: tf32(lambda: product(SQUARE, SQUARE, SQUARE, torch.float32)),
    "bf16 qkv": lambda: product(ROWS, WIDTH, 3 * WIDTH),
    "bf16 projection": lambda: product(ROWS, WIDTH, WIDTH),
    "bf16 mlp in": lambda: product(ROWS, WIDTH, 4 * WIDTH),
    "bf16 mlp out": lambda: product(ROWS, 4 * WIDTH, WIDTH),
    "attention cuDNN": lambda: attention(SDPBackend.CUDNN_ATTENTION),
    "attention flash": lambda: attention(SDPBackend.FLASH_ATTENTION),
    "attention memory-efficient": lambda: attention(SDPBackend.EFFICIENT_ATTENTION),
    "attention memory-efficient, learned bias": lambda: attention(SDPBackend.EFFICIENT_ATTENTION, bias=True),
    "attention explicit, learned bias": lambda: explicit(torch.bfloat16, bias=True),
    "attention flex, learned bias": flex,
    "attention memory-efficient, float32": lambda: attention(SDPBackend.EFFICIENT_ATTENTION, torch.float32),
    "attention explicit, tf32": lambda: tf32(lambda: explicit(torch.float32)),
}


def main(path):
    found = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "TFLOP/s unless said otherwise": {}}
    figures = found["TFLOP/s unless said otherwise"]
    for name, measure in FIGURES.items():
        try:
            with nullcontext() if "attention" in name else torch.inference_mode():
                figures[name] = round(measure(), 3)
        except Exception as error:  # a kernel that there is not is a finding, too
            figures[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else "failed"
        torch.cuda.empty_cache()
        print(f"{name}: {figures[name]}", flush=True)
        Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
