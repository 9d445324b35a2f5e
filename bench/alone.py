#!/usr/bin/env python3
"""alone.py COMMAND ... - runs a command that is to be timed, and says what share of the processors others used meanwhile.

A timing beside other work is wrong, and repeating it doesn't mend it. Alone.run() therefore repeats a command during which others (processes,
the kernel for them, or the host of a virtual machine) had more than BUSY of the processors, up to TRIES times, and keeps the best of
them. The share is what /proc/stat counted less what the command itself used; as the last line on standard error, since standard output
is the command's.
"""
import json, os, resource, shlex, subprocess, sys, time

BUSY, TRIES, HOLD = 0.03, 3, 30


def busy_seconds():
    """of all processors since the start, idle and waiting left out, stolen time in"""
    with open("/proc/stat", encoding="ascii") as f: user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    start, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    status = subprocess.run(sys.argv[1:], check=False).returncode
    others = busy_seconds() - busy - (own_seconds() - own)
    print(f"others {max(0.0, others / (time.monotonic() - start) / os.cpu_count()):.4f}", file=sys.stderr)
    return status if status >= 0 else 128 - status


class Alone:
    """Runs commands that are to be timed. hold: a command that runs another one as soon as nobody else works (flock and the like); it is
    held for at most about HOLD seconds on end, so that others get their turn."""

    def __init__(self, hold=()):
        self.hold, self.holder, self.since, self.others = hold, None, 0, 0.0

    def take(self):
        if not self.hold or self.holder and time.monotonic() - self.since < HOLD: return
        self.release()
        self.holder = subprocess.Popen([*self.hold, "sh", "-c", "echo held; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "held\n": sys.exit(f"{shlex.join(self.hold)} does not run what it is given")
        self.since = time.monotonic()

    def release(self):
        if self.holder: self.holder.communicate()
        self.holder = None

    def run(self, command, parse=json.loads):
        """what the command printed, as parse() makes a dict of it, with the share of others"""
        best = None
        for _ in range(TRIES):
            self.take()
            done = subprocess.run([sys.executable, __file__, *command], capture_output=True, text=True, check=False)
            if done.returncode != 0: sys.exit(f"{shlex.join(command)} ended with status {done.returncode}:\n{done.stderr}")
            found = dict(parse(done.stdout), others=float(done.stderr.split()[-1]))
            if not best or found["others"] < best["others"]: best = found
            if best["others"] <= BUSY: break
        self.others = max(self.others, best["others"])
        return best


if __name__ == "__main__": sys.exit(main())
