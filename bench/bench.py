#!/usr/bin/env python3
"""bench.py - Pensieve, llama.cpp and this machine's limit, in one run of alternating rounds; what docs/bench.md explains.

Each round runs each engine once for each job, in a process of its own, in turning order, so that a machine that slows down or a
neighbour that wakes up hits all. llama.cpp runs with flash attention and without; its better one counts. Pensieve's numbers come out
of its whole engine, sampling included; llama.cpp's are llama_decode alone. Medians, with the spread of the middle half.
"""
import argparse, json, os, shlex, statistics, sys, time
import alone, costs, goals, jobs, load, make_models, roofline

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = {"prefill": "prefill_tps", "decode": "decode_tps"}


def each(option, values): return [word for n in values for word in (option, str(n))]


def pensieve(a, job, path):
    return a.alone.run([a.program, "bench", "--json", "--rounds", "1", "--log", "warn", "--speculate", "off", "--model", path,
                   "--threads", str(job.threads or a.threads), "--decode", str(job.decode), *each("--lengths", job.lengths), *each("--batch", job.batch)])


def llama(a, job, path, flash):
    return a.alone.run([sys.executable, f"{HERE}/llama.py", "--model", path, "--threads", str(job.threads or a.threads), "--decode", str(job.decode),
                   "--flash", flash, "--lengths", *map(str, job.lengths), "--batch", *map(str, job.batch)])


def engines_of(job):
    return ["pensieve", *(f"llama.cpp {flash}" for flash in job.flash if job.llama and job.gguf)]


def measure(a, plan, paths):
    """samples: (job, engine) -> a list of results, one a round; and the best that the machine did in any round"""
    samples, machine = {(job, engine): [] for job in plan for engine in engines_of(job)}, {}
    started = time.monotonic()
    for i in range(a.rounds):
        machine = costs.better(machine, costs.machines(a.check, a.alone))
        for j, job in enumerate(plan):
            print(f"\rbench: round {i + 1} of {a.rounds}, job {j + 1} of {len(plan)}, {time.monotonic() - started:.0f} s ",
                  end="", file=sys.stderr, flush=True)
            names = engines_of(job)
            for engine in names[i % len(names):] + names[:i % len(names)]:
                path = paths[job.shape, job.form]
                samples[job, engine].append(pensieve(a, job, path) if engine == "pensieve" else llama(a, job, path, engine.split()[1]))
    print(file=sys.stderr)
    return samples, machine


def spread(values):
    """the middle half's width, in percent of the median"""
    if len(values) < 4: return (max(values) - min(values)) / statistics.median(values) * 100
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values) * 100


def figure(results, length, batch, name):
    values = [next(p[name] for p in r["points"] if p["length"] == length and p["batch"] == batch) for r in results]
    return {"median": statistics.median(values), "spread": spread(values), "values": values}


def rows_of(a, samples, paths, machine):
    """one for each job, prompt length, batch, and kind of work"""
    rows = []
    for job in dict.fromkeys(job for job, _ in samples):
        cost, on = costs.of_model(paths[job.shape, job.form]), machine.get(job.threads or a.threads)
        for kind, length, batch in [(k, n, b) for k in KINDS for n in job.lengths for b in job.batch]:
            if kind == "prefill" and (length == 1 or batch > 1) or kind == "decode" and job.threads: continue
            found = {e: figure(samples[job, e], length, batch, KINDS[kind]) for e in engines_of(job)}
            ours, theirs = found.pop("pensieve"), found
            row = {"shape": job.shape, "form": job.form, "bits": jobs.BITS[job.form], "kind": kind, "length": length, "batch": batch,
                   "threads": job.threads or a.threads, "pensieve": ours, "llama.cpp": theirs}
            if theirs:
                row["best"] = max(theirs, key=lambda e: theirs[e]["median"])
                row["ratio"] = ours["median"] / theirs[row["best"]]["median"]
            if on:
                row["limit"] = length / on.prefill_seconds(cost, length) if kind == "prefill" else batch / on.step_seconds(cost, length, batch)
                row["share"] = ours["median"] / row["limit"]
            row["macs"] = cost.macs + cost.attend_macs * (length / 2 if kind == "prefill" else length)      # of a token
            row["macs"] += 0 if kind == "prefill" else cost.head_macs
            row["bytes"] = cost.bytes / length if kind == "prefill" else cost.bytes / batch + cost.kv_bytes * (length + 1)
            rows.append(row)
    for row in rows: row["ratio_of_bits"] = ratio_of_bits(rows, row)
    return rows


def ratio_of_bits(rows, row):
    """ours, against the best that llama.cpp does for the same model and work in any form of as many bits"""
    same = [r for r in rows if "best" in r and all(r[k] == row[k] for k in ("shape", "bits", "kind", "length", "batch", "threads"))]
    return row["pensieve"]["median"] / max(r["llama.cpp"][r["best"]]["median"] for r in same) if same else None


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f: return next(line.split(":", 1)[1].strip() for line in f if "model name" in line)
    except (OSError, StopIteration): return "unknown CPU"


def what(row):
    if row["kind"] == "prefill": text = f"prefill of {row['length']}"
    else: text = f"decode behind {row['length'] if row['length'] > 1 else 0}"
    if row["batch"] > 1: text += f", {row['batch']} at once"
    return text


def table(a, rows, machine):
    out = [f"{cpu_name()}, {a.threads} threads, {a.rounds} alternating rounds; Pensieve on {a.isa}"]
    out += [f"the limit: {m.read / 1e9:.1f} GB/s read, {m.int8 / 1e9:.0f} int8 and {m.f32 / 1e9:.0f} f32 multiply-adds/ns on {n} thread{'s' * (n > 1)}"
            for n, m in machine.items()]
    out.append(f"others had at most {a.alone.others:.1%} of the processors during a process that counts" + (": NOT A QUIET MACHINE" if a.alone.others > alone.BUSY else ""))
    out.append("tokens a second, median (spread of the middle half); ratio: to llama.cpp with the same file; of bits: to its best file of as many bits")
    model = None
    for row in rows:
        if (row["shape"], row["form"], row["threads"]) != model:
            model = row["shape"], row["form"], row["threads"]
            title = f"{row['shape']} {row['form']}" + (f", {row['threads']} thread" if row["threads"] != a.threads else "")
            out += ["", f"{title:32}{'Pensieve':>15}{'llama.cpp':>15}{'':11}{'ratio':>8}{'of bits':>9}{'limit':>9}{'share':>7}"]
        cell = lambda f: f"{f['median']:9.1f} ({f['spread']:2.0f}%)"
        best = row.get("best")
        line = f"  {what(row):30}{cell(row['pensieve'])}" + (f"{cell(row['llama.cpp'][best])} flash {best.split()[1]:3} " if best else " " * 26)
        line += f"{row['ratio']:7.2f}x" if best else " " * 8
        line += f"{row['ratio_of_bits']:8.2f}x" if row["ratio_of_bits"] else " " * 9
        line += f"{row['limit']:9.0f}{row['share'] * 100:6.0f}%" if "limit" in row else ""
        out.append(line)
    return "\n".join(out)


def load_rows(a, paths):
    """how soon a model is ready: a GGUF file and an MLX folder of each shape; the first of all is then watched doing nothing"""
    out = {}
    for (shape, form), path in paths.items():
        if form in ("q4_0", "mlx-4bit-g64"):
            out[f"{shape} {form}"] = a.alone.run([sys.executable, f"{HERE}/load.py", a.program, path, "--json", "--threads", str(a.threads),
                                             *(["--idle", "10"] if not out else [])])
    return out


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--check", required=True, help="the kernel check, which measures the machine's limit")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=2, help="five for figures that are to be quoted")
    parser.add_argument("--full", action="store_true", help="every row of every form: more than half an hour, and 25 GB of models")
    parser.add_argument("--only", default="", help="only the jobs whose SHAPE FORM has this text")
    parser.add_argument("--json", metavar="FILE", help="every single number, too")
    parser.add_argument("--svg", metavar="FILE", default="build/bench-roofline.svg")
    parser.add_argument("--hold", type=shlex.split, default=[], help="a command that runs another one when nobody else works, held half a minute at a time")
    a = parser.parse_args()
    a.alone = alone.Alone(a.hold)
    return a


def main():
    a = arguments()
    plan = [job for job in (jobs.full if a.full else jobs.quick)() if a.only in f"{job.shape} {job.form}"]
    paths = {(job.shape, job.form): make_models.make(job.shape, job.form) for job in plan}
    loads = load_rows(a, paths)
    samples, machine = measure(a, plan, paths)
    a.isa = next(r["cpu"] for (_, engine), results in samples.items() if engine == "pensieve" for r in results)
    rows = rows_of(a, samples, paths, machine)
    found = {"cpu": cpu_name(), "isa": a.isa, "threads": a.threads, "rounds": a.rounds, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
             "machine": {n: m._asdict() for n, m in machine.items()}, "rows": rows, "load": loads}
    a.alone.release()
    found.update(others=a.alone.others, goals=goals.judge(found))
    print(table(a, rows, machine), load.text(found["load"]), goals.text(found["goals"]), sep="\n\n")
    with open(a.svg, "w", encoding="utf-8") as f: f.write(roofline.picture(found))
    print(f"\nroofline: {a.svg}")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f: json.dump(found, f, indent=1)


if __name__ == "__main__": main()
