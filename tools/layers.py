#!/usr/bin/env python3
"""layers.py - fails on an include that the rooms' table forbids.

A room is a folder of src/. What it may include is one row of ROOMS: other rooms, the engine's public
face, and libraries. A header that no row and no library knows is refused as well, so that a new
dependency is a decision and not an accident. ARCHITECTURE.md says why the rooms are cut this way.
"""
import argparse
import pathlib
import re
import sys

# room: (rooms, libraries); every room may include itself and the C library
ROOMS = {
    "base": ((), ("yyjson", "sanitizer")),
    "kernels": (("base",), ("cpu",)),
    "engine": (("base", "kernels", "pensieve"), ("pcre2", "utf8proc", "grammar")),
    "api": (("base",), ("yyjson",)),
    "chat": (("base", "api", "pensieve"), ("yyjson", "glue")),
    "backend": (("base", "api", "chat", "pensieve"), ("uv", "curl", "yyjson")),
    "server": (("base", "api", "backend"), ("uv", "llhttp")),
    "app": (("base", "kernels", "engine", "api", "chat", "backend", "server", "pensieve"),
            ("uv", "curl", "crypto")),
    "pensieve": (("base",), ()),    # include/pensieve: the engine's public face
}

LIBRARIES = {
    "yyjson": ("yyjson.h",),
    "uv": ("uv.h",),
    "llhttp": ("llhttp.h",),
    "pcre2": ("pcre2.h",),
    "utf8proc": ("utf8proc.h",),
    "cpu": ("immintrin.h", "arm_neon.h", "cpuid.h", "sys/auxv.h", "asm/hwcap.h"),
    "curl": ("curl/curl.h",),
    "crypto": ("openssl/evp.h",),
    "glue": ("pensieve_glue.h",),
    "grammar": ("pensieve_grammar.h",),
    "sanitizer": ("sanitizer/asan_interface.h", "sanitizer/lsan_interface.h"),
}

# C and POSIX; sys/ and netinet/ headers are all of them.
LIBC = set("""
    assert.h ctype.h errno.h fcntl.h float.h fnmatch.h inttypes.h limits.h locale.h math.h poll.h pthread.h sched.h
    semaphore.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h
    stdlib.h stdnoreturn.h string.h strings.h time.h unistd.h dirent.h arpa/inet.h netdb.h
    linux/futex.h
""".split())

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def owner_of(path, root):
    """The room a file lies in."""
    parts = path.relative_to(root).parts
    return "pensieve" if parts[0] == "include" else parts[1]


def room_of(name):
    """What an included name belongs to: a room, a library, "libc", or None."""
    if name in LIBC:
        return "libc"
    for library, headers in LIBRARIES.items():
        if name in headers:
            return library
    if name.startswith(("sys/", "netinet/")):
        return "libc"
    first = name.split("/")[0]
    return first if "/" in name and first in ROOMS else None


def problems(root):
    sources = sorted([*root.glob("src/*/**/*.[ch]"), *root.glob("include/**/*.h")])
    for path in sources:
        owner = owner_of(path, root)
        text = path.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            name = match.group(2)
            place = f"{path.relative_to(root)}:{text.count(chr(10), 0, match.start()) + 1}"
            if owner not in ROOMS:
                yield f"{place}: {owner} is not a room of tools/layers.py"
                break
            rooms, libraries = ROOMS[owner]
            target = room_of(name)
            if target is None:
                yield f"{place}: {name} is known neither as a room's header nor as a library's"
            elif target not in (owner, "libc", *rooms, *libraries):
                yield f"{place}: {owner} may not include {name} ({target})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    found = list(problems(parser.parse_args().root))
    for line in found:
        print(line)
    print(f"layers: {len(found)} forbidden includes" if found else "layers: as the table says")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
