"""costs.py - what a step of a model costs at least, by its file's own table of tensors, and how long this machine needs for that.

A step reads every weight it uses once, and each sequence's keys and values (f16) once; it multiplies every weight with every column.
The embedding is only looked up unless it is the output head too, and the head is multiplied with the columns whose logits are wanted.
"""
import json, os, sys
from typing import NamedTuple

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, f"{ROOT}/tests/golden/scripts")
import blocks, containers   # noqa: E402


class Costs(NamedTuple):
    macs: float             # multiply-adds of a column, the head's not counted
    head_macs: float
    bytes: float            # weights that a step reads, head included
    kv_bytes: float         # of one position, all layers
    attend_macs: float      # of one column and one position it sees, all layers


def gguf_tensors(path):
    g = containers.Gguf(path)
    arch = g.meta["general.architecture"]
    of = lambda key: g.meta.get(f"{arch}.{key}")
    heads = of("attention.head_count")
    tensors = [(name, shape, raw.nbytes) for name, (_, shape, raw) in g.tensors.items()]
    return tensors, of("block_count"), heads, of("attention.head_count_kv"), of("attention.key_length") or of("embedding_length") // heads


def mlx_tensors(path):
    with open(f"{path}/config.json", encoding="utf-8") as f: c = json.load(f)
    parts = {}
    for file in sorted(os.listdir(path)):
        if not file.endswith(".safetensors"): continue
        with open(f"{path}/{file}", "rb") as f: head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        for name, t in head.items():
            if name != "__metadata__": parts[name] = t["shape"], t["data_offsets"][1] - t["data_offsets"][0]
    tensors = []
    for name, (shape, size) in parts.items():
        layer, kind = name.rsplit(".", 1)
        if kind != "weight": continue
        if layer + ".scales" in parts:
            own = c["quantization"].get(layer) or c["quantization"]
            shape = shape[:-1] + [shape[-1] * 32 // own["bits"]]
            size += sum(parts[layer + x][1] for x in (".scales", ".biases") if layer + x in parts)
        tensors.append((layer, shape, size))
    heads = c["num_attention_heads"]
    return tensors, c["num_hidden_layers"], heads, c["num_key_value_heads"], c.get("head_dim") or c["hidden_size"] // heads


def of_model(path):
    tensors, layers, heads, kv_heads, dim = (mlx_tensors if os.path.isdir(path) else gguf_tensors)(path)
    matrices = {name: (shape[0] * shape[1], size) for name, shape, size in tensors if len(shape) == 2 and "rope" not in name}
    embedding = next(name for name in matrices if "embd" in name or "embed_tokens" in name)
    head = next((name for name in matrices if name.split(".")[0] in ("output", "lm_head")), embedding)
    body = [v for name, v in matrices.items() if name not in (embedding, head)]
    return Costs(sum(m for m, _ in body), matrices[head][0], sum(b for _, b in body) + matrices[head][1],
                 2 * 2 * kv_heads * dim * layers, 2 * heads * dim * layers)


class Machine(NamedTuple):
    isa: str
    threads: int
    read: float             # bytes a second
    int8: float             # multiply-adds a second
    f32: float

    def prefill_seconds(self, costs, length):
        macs = costs.macs * length + costs.head_macs
        return max(macs / self.int8 + costs.attend_macs * length * (length + 1) / 2 / self.f32, costs.bytes / self.read)

    def step_seconds(self, costs, depth, batch):
        computing = batch * ((costs.macs + costs.head_macs) / self.int8 + costs.attend_macs * (depth + 1) / self.f32)
        return max(computing, (costs.bytes + batch * costs.kv_bytes * (depth + 1)) / self.read)


def machines(check, alone):
    """of each number of threads that the microbenchmark of the kernel check knows"""
    lines = alone.run([check, "--peak"], lambda text: {"lines": [json.loads(line) for line in text.splitlines()]})["lines"]
    return {x["threads"]: Machine(x["isa"], x["threads"], x["read_gbs"] * 1e9, x["int8_gmacs"] * 1e9, x["f32_gflops"] / 2 * 1e9) for x in lines}


def better(one, other):
    """of two measurements of the machines: a limit is what was ever possible"""
    return {n: Machine(m.isa, n, *map(max, m[2:], one.get(n, m)[2:])) for n, m in other.items()}
