"""pensieve pull, from a hub that does all that hubs, proxies and networks do."""

import os
import pty
import random
import re
import signal
import subprocess
import time

import pytest

from conftest import BINARY, ROOT
from support import hub as hubs
from support.hub import REPO, Hub, entry

TINY = ROOT / "build/golden/llama_tied"
BIG = random.Random(1).randbytes(3_000_000)
FOLDER = {
    path.name: path.read_bytes() for path in sorted((TINY / "hf-sharded").iterdir())
} if TINY.exists() else {}


@pytest.fixture
def make_hub():
    made = []

    def make(files, **options):
        made.append(Hub(files, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def gguf(make_hub):
    """A hub with one file, model.gguf, of random bytes."""
    return make_hub({"model.gguf": BIG, "README.md": b"read me"})


def environment(hub, **more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("PENSIEVE_", "HF_")) and not k.lower().endswith("_proxy")}
    env.update({"XDG_CONFIG_HOME": "/nonexistent", "HOME": "/nonexistent", "HF_ENDPOINT": hub.url})
    env.update(more)
    return env


def command(folder, what, *flags):
    return [str(BINARY), "pull", "--models-dir", str(folder), what, *flags]


def pull(hub, folder, what=REPO, *flags, **env):
    return subprocess.run(command(folder, what, *flags), capture_output=True, text=True, timeout=60,
                          env=environment(hub, **env), check=False)


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def good(out):
    assert out.returncode == 0, out.stderr
    return out


def failed(out, sentence, returncode=1):
    assert out.returncode == returncode, out.stdout
    last = out.stderr.splitlines()[-1]
    assert re.fullmatch(f"pensieve: {sentence}", last), last


# --- what is got -----------------------------------------------------------------------------------


def test_a_folder(make_hub, tmp_path):
    rest = {"pytorch_model.bin": b"x" * 2000, "onnx/model.onnx": b"x", "README.md": b"x",
            ".gitattributes": b"x", "original/model.safetensors": b"x", "model.gguf": b"x",
            "consolidated.safetensors": b"x"}
    hub = make_hub({**FOLDER, **rest, "LICENSE": b"free", "generation_config.json": b""}, page=3)
    out = good(pull(hub, tmp_path))
    assert tree(tmp_path) == sorted(f"org/model/{name}" for name in
                                    [*FOLDER, "LICENSE", "generation_config.json"])
    for name, data in FOLDER.items():
        assert (tmp_path / "org/model" / name).read_bytes() == data
    assert out.stdout.startswith(f"org/model: {len(FOLDER) + 2} files, ")
    assert all("elsewhere" not in path for path, _ in hub.requests)
    assert [p.name for p in tmp_path.iterdir()] == ["org"]


def test_what_was_got_runs(make_hub, tmp_path):
    hub = make_hub({"tiny-q8_0.gguf": (TINY / "q8_0.gguf").read_bytes()})
    assert good(pull(hub, tmp_path)).stdout.startswith("org/model/tiny-q8_0: 1 files, ")
    out = subprocess.run([str(BINARY), "check", "--models-dir", str(tmp_path), "org/model/tiny-q8_0"],
                         capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == 0 and "runs            yes" in out.stdout, out.stderr


QUANTS = {f"m-{q}.gguf": q.encode() for q in ("Q2_K", "Q4_K_M", "Q4_K_S", "Q8_0")}
SPLIT = {f"big/m-F16-0000{i}-of-00003.gguf": b"%d" % i for i in (1, 2, 3)}


@pytest.mark.parametrize("wanted, files", [
    ("", ["m-Q4_K_M.gguf"]),
    (":Q8_0", ["m-Q8_0.gguf"]),
    (":q8", ["m-Q8_0.gguf"]),
    (":m-Q2_K.gguf", ["m-Q2_K.gguf"]),
    (":*-Q4_K_S*", ["m-Q4_K_S.gguf"]),
    (":F16", [f"m-F16-0000{i}-of-00003.gguf" for i in (1, 2, 3)]),
    ("@v1.0", ["m-Q4_K_M.gguf"]),
    (":Q8_0@refs/pr/1", ["m-Q8_0.gguf"]),
])
def test_the_gguf_that_is_wanted(make_hub, tmp_path, wanted, files):
    hub = make_hub({**QUANTS, **SPLIT, "mmproj-Q4_K_M.gguf": b"x", "config.json": b"{}"})
    good(pull(hub, tmp_path, REPO + wanted))
    assert tree(tmp_path) == [f"org/model/{name}" for name in files]
    revision = wanted.partition("@")[2] or "main"
    assert hub.requests[0][0] == f"/api/models/org/model/tree/{revision}"


@pytest.mark.parametrize("files, wanted, code, sentence", [
    (QUANTS, ":Q4", 2, r":Q4 fits several: m-Q4_K_M, m-Q4_K_S"),
    (QUANTS, ":Q9", 1, r"no GGUF file is called Q9; there are m-Q2_K, m-Q4_K_M, m-Q4_K_S, m-Q8_0"),
    ({"a.gguf": b"", "b.gguf": b""}, "", 2, r"which one\? add :NAME; there are a, b"),
    ({"README.md": b""}, "", 1, "org/model holds neither GGUF files nor a folder with safetensors"),
    ({"m-00001-of-00002.gguf": b""}, "", 1, "m: the hub has 1 of its 2 parts"),
])
def test_no_choice_is_told(make_hub, tmp_path, files, wanted, code, sentence):
    failed(pull(make_hub(files), tmp_path, REPO + wanted), sentence, code)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x/y", "a/..", "a/b@", "a/b@../x", "/a", "a/",
                                  "a b/c", "https://x/y"])
def test_wrong_names(gguf, tmp_path, name):
    failed(pull(gguf, tmp_path, name), r".*: a model is named OWNER/NAME\[:FILE\]\[@REVISION\]", 2)
    assert gguf.requests == []


def test_again_gets_only_what_changed(make_hub, tmp_path):
    hub = make_hub(FOLDER)
    good(pull(hub, tmp_path))
    hub.requests.clear()
    good(pull(hub, tmp_path))
    assert len(hub.requests) == 1                       # the listing
    hub.files["config.json"] += b" "
    good(pull(hub, tmp_path))
    assert [path.rpartition("/")[2] for path, _ in hub.requests[2:]] == ["config.json"]
    assert (tmp_path / "org/model/config.json").read_bytes() == hub.files["config.json"]
    assert tree(tmp_path) == sorted(f"org/model/{name}" for name in FOLDER)


def test_a_second_quant_comes_beside_the_first(make_hub, tmp_path):
    hub = make_hub(QUANTS)
    good(pull(hub, tmp_path))
    good(pull(hub, tmp_path, REPO + ":Q8_0"))
    assert tree(tmp_path) == ["org/model/m-Q4_K_M.gguf", "org/model/m-Q8_0.gguf"]


# --- what breaks off -------------------------------------------------------------------------------


def whole(folder):
    assert (folder / "org/model/model.gguf").read_bytes() == BIG
    assert tree(folder) == ["org/model/model.gguf"]


def test_cut_in_the_middle_goes_on(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.cut(1), hubs.cut(500_000))
    good(pull(gguf, tmp_path))
    whole(tmp_path)
    assert [headers.get("range") for headers in gguf.got("model.gguf")] == [
        None, "bytes=1000000-", "bytes=1000001-", "bytes=1500001-"]


def test_killed_in_the_middle_goes_on(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.stall(1_000_000))
    process = subprocess.Popen(command(tmp_path, REPO), env=environment(gguf),
                               stderr=subprocess.DEVNULL)
    partial = tmp_path / ".partial-org--model"
    deadline = time.monotonic() + 20
    while sum(p.stat().st_size for p in partial.glob("*.part")) < 1_000_000:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "org").exists()
    good(pull(gguf, tmp_path))
    whole(tmp_path)
    assert gguf.got("model.gguf")[1]["range"] == "bytes=1000000-"


def test_a_stall_is_a_cut(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.stall(1_000_000))
    good(pull(gguf, tmp_path, REPO, "--stall", "1s"))
    whole(tmp_path)


def test_a_range_that_is_ignored_begins_anew(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.ignore_range)
    good(pull(gguf, tmp_path))
    whole(tmp_path)


@pytest.mark.parametrize("first", [0, 999_999, 1_000_001])
def test_a_wrong_range_is_refused(gguf, tmp_path, first):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.wrong_range(first))
    failed(pull(gguf, tmp_path), "model.gguf: asked for its bytes from 1000000 on, the hub sent others")
    assert not (tmp_path / "org").exists()
    good(pull(gguf, tmp_path))                          # and what was good is kept
    whole(tmp_path)
    assert gguf.got("model.gguf")[-1]["range"] == "bytes=1000000-"


def test_416_begins_anew(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.status(416))
    good(pull(gguf, tmp_path))
    whole(tmp_path)


def test_what_was_there_is_not_believed(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.wrong_range(0))
    pull(gguf, tmp_path)
    [part] = (tmp_path / ".partial-org--model").glob("*.part")
    part.write_bytes(b"\0" * 500_000)                   # a bad disk, or a bad person
    good(pull(gguf, tmp_path))
    whole(tmp_path)
    part.parent.mkdir()
    part.write_bytes(b"\0" * 4_000_000)                 # longer than it can be
    (tmp_path / "org/model/model.gguf").unlink()
    good(pull(gguf, tmp_path))
    whole(tmp_path)


def test_part_of_another_revision_is_not_taken(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(1_000_000), hubs.wrong_range(0))
    pull(gguf, tmp_path)
    gguf.files["model.gguf"] = BIG[::-1]
    good(pull(gguf, tmp_path))
    assert (tmp_path / "org/model/model.gguf").read_bytes() == BIG[::-1]
    assert tree(tmp_path) == ["org/model/model.gguf"]
    assert "range" not in gguf.got("model.gguf")[-1]


# --- what is wrong ---------------------------------------------------------------------------------


def test_wrong_bytes_are_thrown_away_once(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.garbage)
    good(pull(gguf, tmp_path))
    whole(tmp_path)


def test_wrong_bytes_twice_are_told(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.garbage, hubs.garbage)
    failed(pull(gguf, tmp_path), "model.gguf: its bytes are not those of the hub's listing "
                                 r"\([0-9a-f]{12}...\), twice; they were thrown away")
    assert not (tmp_path / "org").exists()
    assert all(p.stat().st_size == 0 for p in (tmp_path / ".partial-org--model").iterdir())


def test_small_files_are_checked_by_gits_hash(make_hub, tmp_path):
    hub = make_hub({"model.gguf": b"small"})
    hub.twist("model.gguf", hubs.garbage, hubs.garbage)
    failed(pull(hub, tmp_path), "model.gguf: its bytes are not those .*")
    good(pull(hub, tmp_path))


def test_another_size_is_told(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.other_size)
    failed(pull(gguf, tmp_path), "model.gguf: the hub sends 3000004 bytes, its listing says 3000000")
    gguf.twist("model.gguf", hubs.endless)
    failed(pull(gguf, tmp_path),
           "model.gguf: the hub sends more than the 3000000 bytes of its listing")


@pytest.mark.parametrize("name", ["../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "a//b.gguf",
                                  "./a.gguf", "a\\b.gguf", "a\nb.gguf", "", "..", "x" * 241, "a/"])
def test_names_that_lead_elsewhere(gguf, tmp_path, name):
    gguf.listing = [entry("model.gguf", BIG), entry(name, b"x")]
    failed(pull(gguf, tmp_path / "models"),
           "the hub's listing holds a name that is not allowed: .*")
    assert tree(tmp_path) == []


@pytest.mark.parametrize("listing, sentence", [
    (b"<html>", "the hub's answer is not a list of files"),
    (b"{}", "the hub's answer is not a list of files"),
    (b"[" * 100_000, "the hub's answer is not a list of files"),
    (b"[" + b" " * (17 << 20) + b"]", "the hub's answer is longer than 16777216 bytes"),
    ([{**entry("a.gguf", BIG), "lfs": {"size": 1 << 60, "oid": "0" * 64}}],
     "the hub's listing gives no sane size for a.gguf"),
    ([{**entry("a.gguf", b""), "size": -1}], "the hub's listing gives no sane size for a.gguf"),
    ([{**entry("a.gguf", b""), "oid": "../../../x"}],
     "the hub's listing gives no checksum for a.gguf"),
    ([{**entry("a.gguf", BIG), "lfs": {"size": 1, "oid": "0" * 40}}],
     "the hub's listing gives no checksum for a.gguf"),
    ([entry(f"{i}", b"") for i in range(10_001)], "the hub lists more than 10000 files"),
])
def test_listings_that_are_none(gguf, tmp_path, listing, sentence):
    gguf.listing, gguf.page = listing, 20_000
    failed(pull(gguf, tmp_path), sentence)


def test_a_listing_without_end(gguf, tmp_path):
    gguf.listing, gguf.page = [entry(f"{i}", b"") for i in range(300)], 1
    failed(pull(gguf, tmp_path), "the hub's listing has more than 200 pages")


def test_no_room_on_the_disk(gguf, tmp_path):
    gguf.listing = [{**entry("model.gguf", BIG), "lfs": {"size": 4 << 40, "oid": "0" * 64}}]
    failed(pull(gguf, tmp_path), r"4\.0 TiB more are needed, the disk of .* has .*")
    assert gguf.got("model.gguf") == []


# --- who may, and when -----------------------------------------------------------------------------


@pytest.mark.parametrize("code, token, sentence", [
    (401, "", r"http://\S+ asks for a token: there is no such model, or it is private or gated; set "
              "HF_TOKEN"),
    (401, "secret", r"http://\S+ does not accept the token, or has no such model"),
    (403, "", r"http://\S+: this model is gated: ask for access on its page there, and set HF_TOKEN"),
    (403, "secret", r"http://\S+: this model is gated, and the token's owner has not been let in: .*"),
    (404, "", r"http://\S+ has no such model, file or revision"),
    (400, "", r"http://\S+ answered 400"),
])
@pytest.mark.parametrize("path", ["", "model.gguf"])
def test_refusals_are_sentences(gguf, tmp_path, code, token, sentence, path):
    gguf.twist(path, hubs.status(code))
    out = pull(gguf, tmp_path, HF_TOKEN=token)
    failed(out, sentence)
    assert "secret" not in out.stderr


def test_the_token_goes_to_the_hub_only(make_hub, gguf, tmp_path):
    other = make_hub({"model.gguf": BIG})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("from-the-file\n")
    for env, token in (({"HF_TOKEN": "secret"}, "secret"),
                       ({"HF_HOME": str(tmp_path / "home")}, "from-the-file")):
        other.requests.clear()
        gguf.requests.clear()
        gguf.twist("model.gguf", hubs.redirect(f"{other.url}/org/model/resolve/main/model.gguf"))
        good(pull(gguf, tmp_path / token, **env))
        assert (tmp_path / token / "org/model/model.gguf").read_bytes() == BIG
        assert [headers.get("authorization") for _, headers in gguf.requests] == [
            f"Bearer {token}"] * 2
        [(path, headers)] = other.requests
        assert "authorization" not in headers and token not in str(headers)
    gguf.twist("model.gguf", hubs.redirect(          # the same machine by another name
        f"http://localhost:{gguf.port}/org/model/resolve/main/model.gguf"))
    gguf.requests.clear()
    good(pull(gguf, tmp_path / "third", HF_TOKEN="secret"))
    assert "authorization" in gguf.got("model.gguf")[0]
    assert "authorization" not in gguf.got("model.gguf")[1]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_redirects_out_of_http_are_refused(gguf, tmp_path, url):
    gguf.twist("model.gguf", hubs.redirect(url))
    failed(pull(gguf, tmp_path), ".*(rotocol|not supported).*")
    assert not (tmp_path / "org").exists()


def test_redirects_in_a_circle_end(gguf, tmp_path):
    here = f"{gguf.url}/org/model/resolve/main/model.gguf"
    gguf.twist("model.gguf", *[hubs.redirect(here)] * 20)
    failed(pull(gguf, tmp_path), ".*redirects.*")


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("path", ["", "model.gguf"])
def test_waits_as_long_as_the_hub_asks(gguf, tmp_path, code, path):
    gguf.twist(path, hubs.status(code, {"Retry-After": "2"}))
    begin = time.monotonic()
    good(pull(gguf, tmp_path))
    assert 2 <= time.monotonic() - begin < 10
    whole(tmp_path)


def test_does_not_wait_for_hours(gguf, tmp_path):
    gguf.twist("", hubs.status(429, {"Retry-After": "3600"}))
    failed(pull(gguf, tmp_path), r"http://\S+ answered 429 and asks to wait 3600 s: try again then")


def test_gives_up_in_the_end(gguf, tmp_path):
    gguf.twist("model.gguf", *[hubs.status(502)] * 20)
    failed(pull(gguf, tmp_path), r"after 6 tries: http://\S+ answered 502")
    assert len(gguf.got("model.gguf")) == 6


def test_a_hub_that_is_not_there_and_one_that_is_no_address(gguf, tmp_path):
    failed(pull(gguf, tmp_path, HF_ENDPOINT="ftp://x"), "HF_ENDPOINT: ftp://x is no http or https "
                                                        "address", 2)


# --- two, and what is shown ------------------------------------------------------------------------


def test_two_at_once(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.stall(1_000_000, 3))
    first = subprocess.Popen(command(tmp_path, REPO), env=environment(gguf),
                             stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not gguf.got("model.gguf"):
        time.sleep(0.02)
    failed(pull(gguf, tmp_path), r"another pull of this model is under way \(.*\)")
    assert first.wait(30) == 0
    whole(tmp_path)


def test_plain_progress_never_goes_back(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(2_500_000), hubs.garbage)
    lines = good(pull(gguf, tmp_path)).stderr.splitlines()
    shown = [int(re.fullmatch(r"(\d+)% of 3\.0 MB", line)[1]) for line in lines]
    assert shown == sorted(set(shown)) and shown[-1] == 100


def test_a_terminals_progress_never_goes_back(gguf, tmp_path):
    gguf.twist("model.gguf", hubs.cut(2_500_000), hubs.garbage)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(tmp_path, REPO), env=environment(gguf), stderr=theirs,
                               stdout=subprocess.DEVNULL)
    os.close(theirs)
    text = b""
    while True:
        try:
            if not (piece := os.read(ours, 4096)):
                break
        except OSError:                                 # the other end has gone
            break
        text += piece
    os.close(ours)
    assert process.wait(30) == 0
    shown = [int(n) for n in re.findall(rb"\r[#.]{30} +(\d+)%  ", text)]
    assert len(shown) >= 2 and shown == sorted(shown) and shown[-1] == 100
