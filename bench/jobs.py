"""jobs.py - what is measured: models in their forms, prompt lengths, sequences at once.

A job is one process of an engine in a round, so it is kept short: on a shared machine only short things can be done alone.
"""
from typing import NamedTuple

FOUR_BITS, EIGHT_BITS = ("q4_0", "q4_1", "q4_K_M"), ("q8_0",)
BITS = {**dict.fromkeys(FOUR_BITS, 4), **dict.fromkeys(EIGHT_BITS, 8), "mlx-4bit-g32": 4, "mlx-4bit-g64": 4, "mlx-8bit-g64": 8}
EQUAL = {"mlx-4bit-g32": "q4_1", "mlx-4bit-g64": "q4_0", "mlx-8bit-g64": "q8_0"}     # the GGUF form that does as much work
LARGE = "phi3-mini"


class Job(NamedTuple):
    shape: str
    form: str
    lengths: tuple          # of prompts; decoding follows each
    batch: tuple = (1,)
    decode: int = 32        # steps
    threads: int = 0        # 0: as many as the whole run has
    llama: bool = True      # False: ours alone

    @property
    def gguf(self): return not self.form.startswith("mlx")

    @property
    def flash(self):
        """llama.cpp's settings to try: at no depth, or little beside a large model, attention costs nothing either way"""
        return ("on",) if max(self.lengths) < 512 else ("on", "off")


def quick():
    small = "smollm2-135m"
    for form in ("q4_0", "q4_1", "q8_0", "q4_K_M", "mlx-4bit-g32", "mlx-4bit-g64", "mlx-8bit-g64"):
        yield Job(small, form, (1, 512, 2048))
    yield Job(small, "q4_0", (512,), threads=1, decode=2, llama=False)
    for form in ("q4_0", "mlx-4bit-g64"):
        yield Job(LARGE, form, (256,), decode=4)
        yield Job(LARGE, form, (1,), batch=(1, 2, 4, 8, 16), decode=6)
    yield Job(LARGE, "q4_0", (256,), threads=1, decode=2, llama=False)


def full():
    small, middle = "smollm2-135m", "qwen3-0.6b"
    forms = ("q4_0", "q4_1", "q8_0", "q4_K_M", "mlx-4bit-g32", "mlx-4bit-g64", "mlx-8bit-g64")
    for form in forms:
        yield Job(small, form, (1, 512, 2048))
    for form in ("q4_0", "q4_1", "mlx-4bit-g32"):
        yield Job(small, form, (8000,), decode=16)      # its context holds 8,192
    for form in ("q4_0", "q8_0"):
        yield Job(small, form, (512,), batch=(2, 4, 8, 16), decode=16)
    yield Job(small, "q4_0", (512,), threads=1, decode=2, llama=False)
    for form in ("q4_0", "q4_K_M", "q8_0", "mlx-4bit-g64"):
        yield Job(middle, form, (1, 512), decode=16)
    for form in ("q4_0", "q4_K_M", "q8_0", "mlx-4bit-g64", "mlx-8bit-g64"):
        yield Job(LARGE, form, (512,), decode=8)
        yield Job(LARGE, form, (1,), batch=(1, 2, 4, 8, 16), decode=8)
    for form in ("q4_0", "mlx-4bit-g64"):
        yield Job(LARGE, form, (2048,), decode=8)
    yield Job(LARGE, "q4_0", (512,), threads=1, decode=2, llama=False)
