"""Object stores: whole objects or none, nothing replaced unasked, and one sentence for what a store refuses."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import PHOTO
from PIL import Image

pytest.importorskip("s3fs", reason="the extra `cloud` is not installed")

import boto3
import fsspec
from storing import Line, Store
from waiting import HANG_S, until

from rescale import load
from rescale.batch import plan as planning
from rescale.errors import InputError, MachineError, RefusedError, UsageError
from rescale.inference import files
from rescale.io import formats, object_store
from rescale.io.object_store import Url

THOROUGH = bool(os.environ.get("RESCALE_THOROUGH"))
NAME = "a folder/grüße 🏔 +%20#?=&.png"


@pytest.fixture(scope="module")
def served():
    """A store on this machine, and in the environment the way to it."""
    store = Store()
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(key)
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.port}")
        yield store
    store.server.shutdown()


@pytest.fixture(scope="module")
def client(served):
    """Another way into the store than ours."""
    return boto3.client("s3")


@pytest.fixture
def bucket(client, request):
    """A bucket of the test's own."""
    name = f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    client.create_bucket(Bucket=name)
    yield name
    fresh()


def fresh() -> None:
    """Forget the connection, and which buckets there are."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    object_store._stands.cache_clear()


def through(line: Line, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
    fresh()


def keys(client, bucket: str) -> list[str]:
    """All that is in a bucket, parts of unfinished uploads too."""
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    return [facts["Key"] for facts in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


def rescale(*words: object, **environment: str) -> tuple[int, str, str]:
    """The command line in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "rescale", *map(str, words)],
        capture_output=True, text=True, timeout=HANG_S, env=os.environ | environment,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def photo(path: Path, left: int = 60) -> Path:
    Image.open(PHOTO).crop((left, 40, left + 33, 61)).save(path)
    return path


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name", "stem", "suffix", "parent"),
    [
        ("s3://b/a/photo.x4.png", "photo.x4.png", "photo.x4", ".png", "s3://b/a/"),
        ("s3://b/photo", "photo", "photo", "", "s3://b/"),
        ("s3://b/a//p.png", "p.png", "p", ".png", "s3://b/a//"),
        ("gs://b/a/", "a", "a", "", "gs://b/"),
        ("s3://b/.png", ".png", ".png", "", "s3://b/"),
    ],
)
def test_a_url_has_the_parts_of_a_path(text, name, stem, suffix, parent):
    url = Url(text)
    assert (url.name, url.stem, url.suffix, str(url.parent)) == (name, stem, suffix, parent)
    assert str(url.parent / url.name) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    ["http://host/p.png", "https://host/p.png", "file:///etc/passwd", "memory://p.png", "ftp://h/p.png", "s4://b/p.png",
     "s3::http://host/p.png", "simplecache::s3://b/p.png", "filecache://b/p.png", "s3://", "s3:///p.png"],
)  # fmt: skip
def test_other_urls_are_refused_before_anything_is_opened(text, tmp_path):
    with pytest.raises(UsageError, match="expected"):
        planning.plan([text], str(tmp_path), lambda p: p.name)
    with pytest.raises(UsageError, match="expected"):
        planning.plan([str(photo(tmp_path / "p.png"))], text, lambda p: p.name)


def test_what_is_no_url_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:/b").mkdir(parents=True)
    photo(Path("s3:/b/p.png"))
    assert object_store.place("s3://b/p.png") == Path("s3:/b/p.png"), "a file that is there is itself"
    assert object_store.place("concat:p.png") == Path("concat:p.png") and object_store.place("a:b/c") == Path("a:b/c")


def test_no_store_is_imported_before_a_url_is_met():
    program = (
        "import sys, rescale.cli, rescale.batch.plan as planning; planning.plan(['a.png'], None, lambda p: 'b.png')\n"
        "print({m.split('.')[0] for m in sys.modules} & {'fsspec', 's3fs', 'gcsfs', 'aiohttp', 'botocore', 'ray'})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


# ------------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize("size", [0, 1, 70_000, 11_000_000])
def test_bytes_come_back(bucket, client, size):
    url, data = Url(f"s3://{bucket}/{NAME}"), os.urandom(size)
    assert not url.exists()
    object_store.publish(url, data)
    assert url.exists() and object_store.read_bytes(url, max_bytes=size) == data
    assert client.get_object(Bucket=bucket, Key=NAME)["Body"].read() == data
    assert keys(client, bucket) == [NAME]


def test_the_store_is_told_the_digest(bucket, client):
    object_store.publish(Url(f"s3://{bucket}/p"), b"data")
    kept = client.head_object(Bucket=bucket, Key="p", ChecksumMode="ENABLED")["ChecksumSHA256"]
    assert kept == "Om6weQ85rIfJTzhWst0sXREOaBFgImGpqSPTuyOtyLc="


def test_an_object_that_is_large_is_refused_before_it_is_fetched(bucket, served):
    object_store.publish(Url(f"s3://{bucket}/p"), b"x" * 1001)
    before = len(served.requests)
    with pytest.raises(RefusedError, match="1,001 bytes, more than the 1,000"):
        object_store.read_bytes(Url(f"s3://{bucket}/p"), max_bytes=1000)
    assert not [r for r in served.requests[before:] if r.startswith("GET") and r.endswith("/p?")]


def test_nothing_is_replaced_unasked(bucket):
    url = Url(f"s3://{bucket}/p")
    object_store.publish(url, b"first")
    with pytest.raises(RefusedError, match="exists; pass overwrite=True"):
        object_store.publish(url, b"other")
    with pytest.raises(RefusedError, match="exists; pass overwrite=True"):
        object_store.publish(url, b"")
    assert object_store.read_bytes(url, max_bytes=9) == b"first"
    object_store.publish(url, b"first")  # it is done already
    object_store.publish(url, b"other", overwrite=True)
    assert object_store.read_bytes(url, max_bytes=9) == b"other"


def test_of_two_writers_one_wins(bucket):
    """They start together; the store decides, not a look before."""
    for number in range(100 if THOROUGH else 10):
        url, start, outcomes = Url(f"s3://{bucket}/{number}"), threading.Barrier(2), {}

        def write(data, url=url, start=start, outcomes=outcomes):
            start.wait()
            try:
                object_store.publish(url, data)
                outcomes[data] = True
            except RefusedError:
                outcomes[data] = False

        writers = [threading.Thread(target=write, args=(letter * 100_000,)) for letter in (b"a", b"b")]
        [writer.start() for writer in writers]
        [writer.join() for writer in writers]
        winners = [data for data, has_won in outcomes.items() if has_won]
        assert len(outcomes) == 2 and len(winners) == 1
        assert object_store.read_bytes(url, max_bytes=100_000) == winners[0]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_lost_answer_is_no_failure(bucket, client, served, monkeypatch, overwrite):
    """The object arrived, the connection broke: asking again finds our own bytes."""
    with Line(served.port, deaf=1) as line:
        through(line, monkeypatch)
        object_store.publish(Url(f"s3://{bucket}/p"), b"data" * 100, overwrite=overwrite)
        assert line.deaf == 0
    assert client.get_object(Bucket=bucket, Key="p")["Body"].read() == b"data" * 100


# ------------------------------------------------------------------------------------------- what a store refuses


def test_missing_things_are_one_sentence(bucket):
    with pytest.raises(InputError, match="no such object or bucket"):
        object_store.read_bytes(Url(f"s3://{bucket}/none.png"), max_bytes=9)
    with pytest.raises(InputError, match="no such object or bucket"):
        object_store.find(Url("s3://nowhere/folder/"), {".png"})
    with pytest.raises(MachineError, match="there is no such bucket"):
        object_store.publish(Url("s3://nowhere/p.png"), b"data")
    with pytest.raises(MachineError, match="there is no such bucket"):
        Url("s3://nowhere/folder/").is_dir()


def test_what_is_not_permitted_is_one_sentence(bucket, client, served):
    client.put_object(Bucket=bucket, Key="p.png", Body=b"data")
    rule = {"Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"]}
    rule["Resource"] = f"arn:aws:s3:::{bucket}/*"
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    with pytest.raises(MachineError, match=r"cannot read s3://.*/p.png: (Access Denied|Forbidden|.*403)"):
        object_store.read_bytes(Url(f"s3://{bucket}/p.png"), max_bytes=9)
    with pytest.raises(MachineError, match=r"cannot write s3://.*/q.png: (Access Denied|Forbidden|.*403)"):
        object_store.publish(Url(f"s3://{bucket}/q.png"), b"data")


def test_without_credentials_or_store(bucket, client, tmp_path):
    client.put_object(Bucket=bucket, Key="p.png", Body=PHOTO.read_bytes())
    words = ("down", f"s3://{bucket}/p.png", "-o", tmp_path / "s.png", "-m", "bicubic-x2")
    code, _, said = rescale(*words, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", HOME=str(tmp_path))
    assert code == 5 and said.count("\n") == 1 and "credentials" in said
    code, _, said = rescale(*words, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert code == 5 and said.count("\n") == 1 and "connect" in said
    assert not (tmp_path / "s.png").exists()


# ------------------------------------------------------------------------------------------- finding


def test_what_a_url_means(bucket, client):
    names = ["f/a.png", "f/B.JPG", "f/sub/c d.webp", "f/x.txt", "g.png", "f[1]/e.png", "f*/e.png"]
    for name in names:
        client.put_object(Bucket=bucket, Key=name, Body=b"x")
    suffixes, root = formats.FORMAT_OF_SUFFIX, f"s3://{bucket}/"

    def found(text: str) -> list[str]:
        return [str(url).removeprefix(root) for url in object_store.find(Url(root + text), suffixes)]

    assert found("f") == found("f/") == ["f/B.JPG", "f/a.png", "f/sub/c d.webp"]
    assert found("") == sorted(set(names) - {"f/x.txt"})
    assert found("g.png") == ["g.png"] and found("none/") == [] == found("none/*.png")
    assert found("f/*.png") == ["f/a.png"] and found("f/**") == ["f/B.JPG", "f/a.png", "f/sub/c d.webp", "f/x.txt"]
    assert found("f[1]/") == ["f[1]/e.png"], "a prefix that is there is itself"


def test_ten_thousand_objects_are_listed_in_little_memory(bucket, client):
    count = 10_000 if THOROUGH else 1_200  # more than one page of a listing
    for number in range(count):
        client.put_object(Bucket=bucket, Key=f"folder/{number:05}.png", Body=b"")
    program = (
        "import sys, resource; from rescale.io import formats, object_store as storage\n"
        "found = storage.find(storage.Url(sys.argv[1]), formats.FORMAT_OF_SUFFIX)\n"
        "print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    words = [sys.executable, "-c", program]
    told = [
        subprocess.run([*words, f"s3://{bucket}/{f}/"], capture_output=True, text=True, check=True).stdout.split()
        for f in ("none", "folder")
    ]
    assert [int(found) for found, _ in told] == [0, count]
    assert int(told[1][1]) - int(told[0][1]) < 100_000  # KB above what the libraries take


# ------------------------------------------------------------------------------------------- the plan


def test_a_plan_goes_to_and_from_a_store(bucket, client, tmp_path):
    for name in ("in/a.png", "in/b.jpg"):
        client.put_object(Bucket=bucket, Key=name, Body=b"x")
    local = photo(tmp_path / "c.png")

    def planned(*inputs: object, output: str | None) -> list[tuple[str, str]]:
        pairs, _ = planning.plan([*map(str, inputs)], output, lambda p: f"{p.stem}.x2.png")
        return [(str(a), str(b)) for a, b in pairs]

    store = f"s3://{bucket}"
    a, b = f"{store}/in/a.png", f"{store}/in/b.jpg"
    assert planned(a, a, b, output=None) == [(a, f"{store}/in/a.x2.png"), (b, f"{store}/in/b.x2.png")]
    assert planned(f"{store}/in", local, output=f"{store}/out/") == [
        (a, f"{store}/out/a.x2.png"), (b, f"{store}/out/b.x2.png"), (str(local), f"{store}/out/c.x2.png"),
    ]  # fmt: skip
    assert planned(a, output=str(tmp_path)) == [(a, str(tmp_path / "a.x2.png"))]
    assert planned(a, output=store) == [(a, f"{store}/a.x2.png")]
    template = f"{store}/{{folder}}/{{suffix}}/{{stem}}.webp"
    assert planned(a, b, output=template) == [(a, f"{store}/in/png/a.webp"), (b, f"{store}/in/jpg/b.webp")]


@pytest.mark.parametrize(
    ("inputs", "output", "error", "sentence"),
    [
        (["S/a.png", "S/sub/a.png"], "S/out/", UsageError, "would both become"),
        (["S/a.png", "S/a.x2.png"], None, RefusedError, "which is a source as well"),
        (["S/a.png"], "S/out", UsageError, "expected one of"),
        (["S/clip.mp4"], "S/out.mp4", UsageError, "expected a file for a video"),
        (["S/a.png"], "s3://nowhere/out/", MachineError, "no such bucket"),
    ],
)
def test_plans_that_cannot_be(bucket, inputs, output, error, sentence):
    store = f"s3://{bucket}"
    with pytest.raises(error, match=sentence):
        planning.plan(
            [text.replace("S", store) for text in inputs],
            output and output.replace("S", store),
            lambda p: f"{p.stem}.x2.png",
        )


# ------------------------------------------------------------------------------------------- the journeys


def test_down_and_up_are_as_on_disk(bucket, client, tmp_path):
    """The same bytes, whether source or target is a file or an object."""
    for name, left in (("one.png", 60), ("zwei ü.png", 90)):
        client.upload_file(str(photo(tmp_path / name, left)), bucket, f"photos/{name}")
    store, one = f"s3://{bucket}", tmp_path / "one.png"
    code, out, said = rescale("down", f"{store}/photos", "-o", f"{store}/small/", "-m", "irn-x2-small")
    assert (code, said) == (0, "") and out.splitlines() == [f"{store}/small/one.x2.png", f"{store}/small/zwei ü.x2.png"]
    rescaler = load("irn-x2-small")
    files.downscale_file(rescaler, one, tmp_path / "s.png")
    files.downscale_file(rescaler, f"{store}/photos/one.png", tmp_path / "s2.png")
    files.downscale_file(rescaler, one, f"{store}/mixed/s3.png")
    stored = [client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in ("small/one.x2.png", "mixed/s3.png")]
    assert [(tmp_path / "s.png").read_bytes()] * 3 == [*stored, (tmp_path / "s2.png").read_bytes()]
    code, out, said = rescale("up", f"{store}/small/one.x2.png", "-o", tmp_path / "back.png", "--json")
    assert (code, said) == (0, "") and json.loads(out)["source"] == f"{store}/small/one.x2.png"
    files.upscale_file(f"{store}/small/one.x2.png", f"{store}/back.png")
    files.upscale_file(tmp_path / "s.png", tmp_path / "back2.png")
    stored = client.get_object(Bucket=bucket, Key="back.png")["Body"].read()
    assert stored == (tmp_path / "back.png").read_bytes() == (tmp_path / "back2.png").read_bytes()


def test_one_failed_object_does_not_stop_the_rest(bucket, client, tmp_path):
    client.upload_file(str(photo(tmp_path / "p.png")), bucket, "in/a.png")
    client.put_object(Bucket=bucket, Key="in/b.png", Body=b"no picture")
    client.upload_file(str(tmp_path / "p.png"), bucket, "in/c.png")
    client.put_object(Bucket=bucket, Key="out/c.x2.png", Body=b"kept")
    code, out, said = rescale(
        "down", f"s3://{bucket}/in/", f"s3://{bucket}/none.png", "-o", f"s3://{bucket}/out/", "-m", "bicubic-x2"
    )
    assert code == 3 and out == f"s3://{bucket}/out/a.x2.png\n" and "3 of 4 pictures failed" in said
    assert (
        "b.png: expected a picture" in said
        and "out/c.x2.png exists" in said
        and "none.png: there is no such object" in said
    )
    assert client.get_object(Bucket=bucket, Key="out/c.x2.png")["Body"].read() == b"kept"
    assert sorted(keys(client, bucket)) == ["in/a.png", "in/b.png", "in/c.png", "out/a.x2.png", "out/c.x2.png"]


def test_a_source_is_never_replaced(bucket, client, tmp_path):
    client.upload_file(str(photo(tmp_path / "p.png")), bucket, "p.png")
    with pytest.raises(RefusedError, match="would replace its own source"):
        files.downscale_file(load("bicubic-x2"), f"s3://{bucket}/p.png", f"s3://{bucket}/p.png", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_kill_during_an_upload(bucket, client, served, overwrite):
    """At each moment the key holds what was there before, or all of the new object."""
    data = os.urandom(16_000_000)
    old = b"old" if overwrite else None
    program = (
        "import os, sys; from rescale.io import object_store as storage\n"
        "url = storage.Url(sys.argv[1]); storage.Url.exists(url)\n"
        "data = sys.stdin.buffer.read(); print('ready', flush=True)\n"
        "storage.publish(url, data, overwrite=sys.argv[2] == 'True'); print('done', flush=True)"
    )
    cut = 0
    for number in range(20 if THOROUGH else 4):
        url = f"s3://{bucket}/k{number}"
        if overwrite:
            client.put_object(Bucket=bucket, Key=f"k{number}", Body=old)
        with Line(served.port, rate=25e6) as line:
            words, way = [sys.executable, "-c", program, url, str(overwrite)], f"http://127.0.0.1:{line.port}"
            with subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"AWS_ENDPOINT_URL": way}
            ) as writer:
                writer.stdin.write(data)
                writer.stdin.close()
                assert writer.stdout.readline() == b"ready\n"
                share = (0.05, 0.3, 0.6, 1)[number % 4]
                until(lambda w=writer, at=line, s=share: w.poll() is not None or at.passed >= s * len(data))
                writer.send_signal(signal.SIGKILL)
                is_done = writer.stdout.read() == b"done\n"
        until(lambda line=line: line.is_silent)
        present = f"k{number}" in keys(client, bucket)
        held = client.get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() if present else None
        assert held in (old, data) and (held == data or not is_done)
        cut += held == old
    assert cut, "no upload was under way when its writer was killed"
    assert all(key.startswith("k") for key in keys(client, bucket))
