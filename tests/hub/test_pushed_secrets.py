"""Keys in what is about to be pushed: in every kind of file, column and encoding, by place and kind, never by value."""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_emo_dist.hub import contents
from hf_emo_dist.hub.contents import NotLookedThroughError, places
from hf_emo_dist.hub.files import SecretFoundError, UploadFile, check_uploads, clean_json
from hf_emo_dist.hub.metric_space import push_metric
from hf_emo_dist.hub.push_data import push_dataset, push_votes
from hf_emo_dist.hub.secrets import of_this_user

# none of them is anybody's
GEMINI = "AIzaSyB3-k9QpZ_x7LmT2vW8cRdN4fGhJ1uYe5s"
GEMINI_NEW = "AQ.Ab8RN6Kq2ZpL0xT7vW3cRdN9fGhJ4uYe5sM1oPi"
HUB = "hf_QwErTyUiOpAsDfGhJkLzXcVbNm12345678"
OPENAI = "sk-proj-a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
GITHUB = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
OWN = "s3cret/of+mine"
PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n" * 2


def b64(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.endswith(("_KEY", "_TOKEN")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MY_API_KEY", OWN)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-pass-word@proxy.example:8080")


def found(content, path="file.bin", *more):
    return [(place.path, place.detail, place.what) for place in places(path, content, of_this_user())]


FORMS = {
    GEMINI: "a Google key",
    GEMINI_NEW: "a Google key",
    HUB: "a Hugging Face token",
    OPENAI: "an OpenAI key",
    GITHUB: "a GitHub token",
    PEM: "a private key",
    "AKIAQ3EGRTZ5W7YNB2KD": "an AWS key",
    "https://anna:geheim99@host.example/x": "an address with a password",
    "sk-or-v1-" + "0f3a9b1c" * 8: "an OpenAI key",
    "sk-" + "0f3a9b1c7d5e2468" * 2: "an OpenAI key",
    "ghu_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8": "a GitHub token",
    "ASIAQ3EGRTZ5W7YNB2KD": "an AWS key",
    "xoxp-2345678901-3456789012-4567890123-0f3a9b1c7d5e24680f3a9b1c": "a Slack token",
    "xapp-1-A02B3C4D5E6-3456789012-0f3a9b1c7d5e24680f3a9b1c7d5e2468": "a Slack token",
    "https://a.blob.core.windows.net/b?sp=r&sig=Zm9v%2BmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYm1%3D": "a signed address",
    "gsk_" + "Q1w2E3r4T5y6" * 4: "a Groq key",
    "sk_live_51H8x2eKq0Zt7Vw3Rb5Nm": "a Stripe key",
    "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": "a SendGrid key",
    f"{b64({'alg': 'HS256'})}.{b64({'sub': 'anna'})}.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr": "a JSON Web Token",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 2\n\n" + PEM[28:]: "a private key",
    OWN: "the value of MY_API_KEY",
    "proxy-pass-word": "the password in HTTPS_PROXY",
}
NONE = [
    "hf_emo_dist", "a task-oriented-dialogue-with-25-Turns-and-more-words-than-that",
    "sk-learn-is-a-library-with-a-long-name",
    "https://host:8080/a@b", "AIza", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "hf_your_token", "sk-...", "AQ.",
    "https://user:password@host.example", "disk-0f3a9b1c7d5e24680f3a9b1c7d5e2468", "sk-abcdefabcdefabcdef", "EURASIA20",
    "sig=none", "BEGIN PGP PRIVATE KEY BLOCK", "eyJhbGciOiJIUzI1NiJ9", "risk_live_QwErTyUiOpAsDfGhJkLzXcVb", "XXSG.a.b",
    "-----BEGIN PUBLIC KEY-----", "half_QwErTyUiOpAsDfGhJkLzXcVbNm",
]  # fmt: skip


@pytest.mark.parametrize("secret", FORMS)
def test_forms(secret):
    text = f"one line\nGEMINI_API_KEY={secret}\0PATH=/usr/bin"
    assert found(text.encode(), "README.md")[0] == ("README.md", "line 2", FORMS[secret])


@pytest.mark.parametrize("text", NONE)
def test_what_only_looks_like_one(text):
    assert found(f"see {text} there".encode(), "README.md") == []


# what may stand before a token: an escape's last letter is none of a word
BEFORE = [
    "\\n",
    "\\t",
    "\\r",
    '\\"',
    "%3D",
    "%3d",
    "%0A",
    "=3D",
    "=",
    "\\x0a",
    "\\u000a",
    "\\u003d",
    "\x1b[31m",
    "&quot;",
]


@pytest.mark.parametrize("before", BEFORE)
def test_after_an_escape(before):
    text = json.dumps({"a": f"token:{before}{HUB}\n"}) if before == "&quot;" else f'{{"a": "token:{before}{HUB}"}}'
    for path in ("a.jsonl", "README.md", "a.py"):
        assert {place[2] for place in found(f"x\n{text}\n".encode(), path)} == {"a Hugging Face token"}
    told = found(parquet(pa.array(["a", text])), "a.parquet")
    assert ("a.parquet:text", "row 1", "a Hugging Face token") in told


def wide(name):
    return lambda value: value.encode(name)


ENCODINGS = {
    "UTF-8": str.encode,
    **{name: wide(name) for name in ("utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be")},
    "base64": lambda value: base64.b64encode(b"a" + value.encode() + b"=1"),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(b"ab" + value.encode()),
    "base64 of base64's length": lambda value: base64.b64encode(value.encode()),
    "hexadecimal": lambda value: value.encode().hex().encode(),
    "HEXADECIMAL": lambda value: value.encode().hex().upper().encode(),
    "percent-encoded": lambda value: value.replace("/", "%2F").replace("+", "%2B").encode(),
    "lower-case percents": lambda value: value.replace("/", "%2f").replace("+", "%2b").encode(),
    "the slash kept": lambda value: value.replace("+", "%2B").encode(),
    "every character": lambda value: "".join(f"%{ord(one):02x}" for one in value).encode(),
    "JSON of PHP": lambda value: value.replace("/", "\\/").encode(),
    "base64 over lines": lambda value: base64.encodebytes(b"a" * 50 + value.encode() + b"a" * 50),
    "base64 over lines, in JSON": lambda value: json.dumps(
        base64.encodebytes(b"a" * 50 + value.encode() + b"a" * 50).decode()
    ).encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("before", [b"", b"\xff\x01", os.urandom(4096)], ids=["alone", "after a little", "in noise"])
def test_encodings_of_a_known_key(encoding, before):
    told = found(before + ENCODINGS[encoding](OWN) + before[::-1])
    assert {what.partition(",")[0] for _, _, what in told} == {"the value of MY_API_KEY"}


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_forms_in_wide_characters(name):
    told = found(b"\x01\xff\x02" + f"key {HUB}.".encode(name) + b"\xff")
    assert [what for _, _, what in told] == [f"a Hugging Face token, in {name[:6].upper()}"]


def parquet(column, name="text", metadata=None):
    table = pa.table({"id": [str(i) for i in range(len(column))], name: column})
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out, compression="zstd", row_group_size=3)
    return out.getvalue()


def zipped(name, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.txt", "nothing " * 1000)
        archive.writestr(name, data)
    return out.getvalue()


def parquet_of_field(metadata):
    out = io.BytesIO()
    pq.write_table(pa.table([["a"]], schema=pa.schema([pa.field("a", pa.string(), metadata=metadata)])), out)
    return out.getvalue()


def parquet_with(data):
    """Bytes that nothing points to, between the pages and the footer."""
    whole = parquet(pa.array(["a"]))
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    return whole[:-footer] + b"\0" + data + b"\0" + whole[-footer:]


def npz():
    out = io.BytesIO()
    np.savez_compressed(out, a=np.zeros(1000), names=np.array(["x", HUB]))
    return out.getvalue()


def safetensors():
    head = json.dumps({"__metadata__": {"made_with": f"token {HUB}"}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(64)


AUDIO = pa.array(
    [{"bytes": b"RIFF" + os.urandom(99), "path": "a.wav"}] * 7 + [{"bytes": f"A=1\0K={GEMINI}\0".encode()}]
)
COLUMNS = {
    "strings": (pa.array(["task-", None, "Q", HUB, "x"]), "row 3"),
    "after a neighbour that ends in a letter": (pa.array(["abc", "hf_", HUB[3:], "abc", HUB, "example"]), "row 4"),
    "bytes in a struct": (AUDIO, "row 7"),
    "lists of structs": (pa.array([[{"label": "a"}], [], None, [{"label": "b"}, {"label": f"see {HUB}"}]]), "row 3"),
    "a dictionary": (pa.array(["a", "b", HUB, "a"]).dictionary_encode(), "row 2"),
    "a map": (pa.array([[("a", "b")], [("c", HUB)]], pa.map_(pa.string(), pa.string())), "row 1"),
    "large strings": (pa.array(["a", f"{OPENAI} "], pa.large_string()), "row 1"),
    "UTF-16 bytes": (pa.array([b"a", HUB.encode("utf-16")]), "row 1"),
    "base64 of the known key": (pa.array(["a", base64.b64encode(OWN.encode()).decode()]), "row 1"),
    "bytes as numbers": (pa.array([[1, 2], list(HUB.encode())], pa.list_(pa.uint8())), "row 1"),
    **{
        f"letters as {kind}": (pa.array([[1, 2], [3], list(HUB.encode())], pa.list_(kind)), "row 2")
        for kind in (pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())
    },
    "letters as half": (
        pa.array([[1, 2], list(np.frombuffer(HUB.encode(), np.uint8).astype(np.float16))], pa.list_(pa.float16())),
        "row 1",
    ),
    "a list of letters": (pa.array([["sad"], list(HUB), ["x"]]), "row 1"),
    "a list of pieces in structs": (pa.array([[{"a": HUB[:9]}, {"a": HUB[9:]}], [{"a": "x"}]]), "row 0"),
    "base64 over lines": (pa.array(["a", base64.encodebytes(b"a" * 50 + OWN.encode() + b"a" * 50).decode()]), "row 1"),
    "gzip": (pa.array([b"a", b"", gzip.compress(f"x {HUB}".encode())]), "row 2"),
    "bzip2": (pa.array([b"a", bz2.compress(f"x {HUB}".encode())]), "row 1"),
    "xz": (pa.array([b"a", lzma.compress(f"x {HUB}".encode())]), "row 1"),
    "zip": (pa.array([[b"a"], [b"b", zipped("a.txt", f"x {HUB}")]]), "row 1"),
    "Parquet": (pa.array([b"a", parquet(pa.array([HUB]))]), "row 1"),
    "a broken zip": (pa.array([b"a", zipped("a.txt", "x" * 999)[:-20]]), "row 1"),
    "letters as numbers": (pa.array([[1, 2], [3], list(HUB.encode())], pa.list_(pa.int32())), "row 2"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_of_parquet(case):
    column, row = COLUMNS[case]
    data = parquet(column)
    told = [place for place in found(data, "data/train.parquet") if ":" in place[0]]
    assert {place[:2] for place in told} == {("data/train.parquet:text", row)}


def test_pieces_in_neighbouring_rows_are_no_key():
    assert found(parquet(pa.array(["hf_QwErTyUiOpAs", "DfGhJkLzXcVbNm123", "x" * 50])), "a.parquet") == []


def sqlite(path):
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE votes (id, reply)")
    base.executemany("INSERT INTO votes VALUES (?, ?)", [("a", "nothing"), ("b", "x" * 4050 + f" {HUB} " + "x" * 9000)])
    base.commit()
    base.close()
    return Path(path)


FILES = {
    "safetensors' metadata": ("model.safetensors", safetensors(), "byte"),
    "zip": ("a.zip", zipped("inner/notes.txt", f"\n\n{HUB}"), "line 3"),
    "zip in zip": ("a.zip", zipped("b.zip", zipped("notes.txt", HUB)), "line 1"),
    "npz": ("a.npz", npz(), "byte"),
    "gzip": ("a.txt.gz", gzip.compress(b"x\n" + HUB.encode()), "line 2"),
    "JSON with escapes": ("scores.json", json.dumps({"a": HUB}).replace("hf_", "\\u0068f_").encode(), "line 1"),
    "a notebook": ("a.ipynb", json.dumps({"cells": [{"source": ["x\n", f"k = '{OPENAI}'"]}]}).encode(), "line"),
    "base64 over lines": ("a.md", b"\n".join([base64.encodebytes(b"a" * 50 + OWN.encode() + b"a" * 50)]), "line 1"),
    "base64 over lines, in a log": ("a.log", base64.encodebytes(b"a" * 50 + OWN.encode() + b"a" * 50), "byte"),
    "base64 over lines, no suffix": ("notes", base64.encodebytes(b"a" * 50 + OWN.encode() + b"a" * 50), "byte"),
    "JSON lines with escapes": ("a.jsonl", b"{}\n" + json.dumps(HUB).replace("hf_", "\\u0068f_").encode(), "line 2"),
    "a column's name": ("a.parquet", parquet(pa.array(["a"]), name=HUB), "the name of a column"),
    "an inner column's name": ("a.parquet", parquet(pa.array([[{OWN: 1}]])), "the name of a column"),
    "the name of metadata": ("a.parquet", parquet(pa.array(["a"]), metadata={HUB: "1"}), "the name of metadata"),
    "a column's metadata": ("a.parquet", parquet_of_field({"by": HUB}), "metadata by"),
    "after the pages of Parquet": ("a.parquet", parquet_with(HUB.encode()), "byte"),
    "bzip2": ("a.txt.bz2", bz2.compress(b"x\n" + HUB.encode()), "line 2"),
    "Parquet's metadata": ("a.parquet", parquet(pa.array(["a"]), metadata={"made by": f"{HUB} "}), "metadata made by"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_kinds_of_files(case):
    path, data, where = FILES[case]
    assert any(where in place[1] for place in found(data, path)), found(data, path)


def test_sqlite_over_pages(tmp_path):
    told = found(sqlite(tmp_path / "votes.sqlite"), "votes.sqlite")
    assert ("votes.sqlite", "table votes, row 1, column reply", "a Hugging Face token") in told


def test_across_the_blocks_of_a_stream(monkeypatch):
    monkeypatch.setattr(contents, "_BLOCK", 5000)
    for at in range(4900, 5010, 7):
        data = b"\n" * at + HUB.encode() + b"\n" * 9000
        assert found(data, "a.txt") == [("a.txt", f"line {at + 1}", "a Hugging Face token")]


BROKEN = {"truncated zip": zipped("a", "b" * 5000)[:-30], "bomb": None, "broken Parquet": b"PAR1" + b"x" * 50}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_searched_is_refused(case, monkeypatch):
    data = BROKEN[case]
    if case == "bomb":
        monkeypatch.setattr(contents, "MOST_UNPACKED", 1 << 20)
        data = zipped("zeros", bytes(1 << 21))
    with pytest.raises(NotLookedThroughError):
        found(data, "a.zip")
    with pytest.raises(SecretFoundError, match="could not be searched for secrets"):
        check_uploads([UploadFile("a.zip", data)])
    check_uploads([UploadFile("a.zip", data)], not_secret=["a.zip"])


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_a_column_that_is_none_is_not_told_again_as_bytes(compression):
    out = io.BytesIO()
    texts = ["a", f"see {HUB}", f"at {OWN}", HUB, "Q" * 65]
    pq.write_table(pa.table({"transcript": texts}), out, compression=compression, write_page_index=True)
    check_uploads([UploadFile("a.parquet", out.getvalue())], not_secret=["a.parquet:transcript"])
    assert {place[0] for place in found(out.getvalue(), "a.parquet")} == {"a.parquet:transcript"}


def test_the_message_and_the_way_out():
    file = UploadFile("data/train.parquet", parquet(AUDIO, "audio"))
    with pytest.raises(SecretFoundError) as caught:
        check_uploads([file])
    told = str(caught.value)
    assert "data/train.parquet:audio holds a Google key (row 7)" in told and "Mend:" in told and "not_secret" in told
    assert GEMINI not in told and GEMINI[:12] not in told
    check_uploads([file], not_secret=["data/*.parquet:audio"])
    with pytest.raises(SecretFoundError):
        check_uploads([file], not_secret=["data/*.parquet:id"])


def dataset(folder, table=None):
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("# Votes\n")
    pq.write_table(table or pa.table({"id": ["a"], "human_votes": [["sad"]]}), folder / "data" / "train.parquet")
    return folder


def test_the_environment_of_this_process_in_a_data_set(tmp_path):
    environ = b"GEMINI_API_KEY=" + GEMINI.encode() + b"\0PATH=/usr/bin\0"
    table = pa.table({"id": ["a"], "audio": [{"bytes": environ, "path": "environ"}], "human_votes": [["sad"]]})
    with pytest.raises(SecretFoundError, match=r"data/train.parquet:audio holds a Google key \(row 0\)"):
        push_dataset(dataset(tmp_path / "set", table), "me/x", dry_run=True)
    rows = pa.table({"id": ["a"], "human_votes": [[f"sad {HUB}"]]})
    with pytest.raises(SecretFoundError, match="human_votes"):
        push_votes(dataset(tmp_path / "votes", rows), "me/x", dry_run=True)


LINKS = ["data/train.parquet", "README.md", "preparation.json", "combiner.json", "data"]


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_the_folder(name, tmp_path):
    folder, mine = dataset(tmp_path / "set"), dataset(tmp_path / "mine")
    place, target = folder / name, mine / (name if (mine / name).exists() else "README.md")
    if place.is_dir():
        place.rename(tmp_path / "away")
    place.unlink(missing_ok=True)
    target.write_text("{}") if name.endswith("json") else None
    place.symlink_to(target)
    with pytest.raises(SecretFoundError, match=r"is a link to a file outside of .*\n?.*Mend: "):
        push_dataset(folder, "me/x", dry_run=True)


def test_links_within_the_folder(tmp_path):
    folder = dataset(tmp_path / "set")
    (folder / "data" / "train.parquet").rename(folder / "shard")
    (folder / "data" / "train.parquet").symlink_to("../shard")
    assert len(push_dataset(folder, "me/x", dry_run=True).files) == 2


def test_links_in_a_metric(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text("x = 1\n")
    (folder / "notes").symlink_to("/proc/self/environ")
    with pytest.raises(SecretFoundError, match="link to a file outside"):
        push_metric(folder, "me/mine", dry_run=True)
    (folder / "notes").unlink()
    (folder / "notes").write_bytes(b"\0" + HUB.encode())  # a name that nobody takes for text
    with pytest.raises(SecretFoundError, match="notes holds a Hugging Face token"):
        push_metric(folder, "me/mine", dry_run=True)


def test_what_names_code_is_not_passed_on():
    values = {"auto_map": {"AutoModel": "me/x--code.M"}, "a": [{"custom_pipelines": {}}], "b": 1}
    assert clean_json(values) == {"a": [{}], "b": 1}


# name and value of a variable of the environment → whether it is looked for
VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": ("/Zx9k2LmQ8vT4wRb7NcYp3HsJd6GfAe1UoXi5KtQ", True),
    "MY_TOKEN": ("~Zx9k2LmQ8vT4wRb7", True),
    "A_SECRET": (".Zx9k2LmQ8vT4wRb7", True),
    "SMTP_PASS": ("long-and-s3cret", True),
    "MYSQL_PWD": ("long-and-s3cret", True),
    "OPENAI_KEY_2": ("long-and-s3cret", True),
    "DB_PASS2": ("long-and-s3cret", True),
    "GPG_PASSPHRASE": ("long-and-s3cret", True),
    "UMLAUTE_TOKEN": ("\u00e4\u00f6\u00fc-geheimnis", True),
    "SHORT_TOKEN": ("abc", False),
    "TOKEN_FILE": ("/home/anna/token-file", False),
    "SSH_KEY": (__file__, False),  # there is such a file
    "PWD": ("/home/anna/my-work", False),
    "OLDPWD": ("long-and-no-secret", False),
    "COMPASS": ("long-and-no-secret", False),
    "KEYBOARD_LAYOUT": ("long-and-no-secret", False),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_of_the_environment(name, monkeypatch):
    value, secret = VARIABLES[name]
    monkeypatch.setenv(name, value)
    for text in (value, json.dumps(value), quote(value, safe="/")):
        told = [one.what for one in of_this_user().search(f"at {text} there".encode())]
        assert (f"the value of {name}" in told) == secret
