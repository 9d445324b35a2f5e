#!/usr/bin/env python3
"""subset_goldens.py GOLDENS.json TINYDIR OUT.json - the goldens of the models that TINYDIR holds, and the token ids they use."""
import json, os, sys

source, tiny, out = sys.argv[1:4]
g = json.load(open(source))
entries = [e for e in g["entries"] if os.path.exists(f"{tiny}/{e['model']}")]
n = max(e["n"] for e in entries)
with open(out, "w") as f:
    f.write('{"ids":%s,\n"entries":[\n%s\n]}\n' % (json.dumps(g["ids"][:n], separators=(",", ":")),
            ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)))
print(f"{len(entries)} entries, {n} ids")
