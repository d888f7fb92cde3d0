"""Interrupted runs: the next one goes on, and ends with the same numbers to the last bit."""

import json
import signal
import time

import pytest
from safetensors import safe_open
from zimage_layer_lab.cli.profile import checkpoint as profile_checkpoint
from zimage_layer_lab.cli.profile.meter import ProfileMeter
from zimage_layer_lab.core.profile.merging import merge_groups
from zimage_layer_lab.core.profile.profile import ProfileStats

PROMPTS = 240
SHARDS_BEFORE_THE_KILL = 5


@pytest.fixture(scope="module")
def many_prompts(tmp_path_factory):
    """As many forward passes as prompts, so that there is a middle to be killed in."""
    path = tmp_path_factory.mktemp("many") / "prompts.txt"
    path.write_text(
        "".join(f"w{n % 58} w{n // 58}" + " w3" * (n % 11) + "\n" for n in range(PROMPTS))
    )
    return path


@pytest.fixture
def every_shard(monkeypatch):
    """Checkpoints after every shard, however long they take to write."""
    monkeypatch.setattr(profile_checkpoint, "WRITING_SHARE", float("inf"))


def shards_in(checkpoint):
    """How many shards the checkpoint file holds; 0 before there is one."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="pt") as file:
        return json.loads(file.metadata()["facts"])["shards"]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_bits(
    tiny_model, many_prompts, tmp_path, layerlab_process
):
    """SIGKILL, which no program can prepare for. All three runs are processes of one kind, with the
    same number of threads, on which the last bits depend."""

    def arguments(name):
        common = ("--prompts", many_prompts, "--batch-tokens", 1)
        return ("profile", tiny_model(), *common, "--out", tmp_path / name)

    def run(*words):
        process = layerlab_process(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, " ".join(out.split())

    process = layerlab_process(*arguments("killed"))
    checkpoint = tmp_path / "killed" / ".checkpoint" / "profile.safetensors"
    deadline = time.monotonic() + 120
    while shards_in(checkpoint) < SHARDS_BEFORE_THE_KILL:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [".checkpoint"]
    (checkpoint.parent / ".writing-orphan").mkdir()
    (checkpoint.parent / ".writing-orphan" / checkpoint.name).write_bytes(b"half")

    status, out = run(*arguments("killed"))
    assert status == 0 and "Going on from a checkpoint: " in out
    done = int(out.partition("Going on from a checkpoint: ")[2].split()[0])
    assert SHARDS_BEFORE_THE_KILL <= done < PROMPTS
    assert not checkpoint.parent.exists()

    status, out = run(*arguments("unbroken"))
    assert status == 0 and "checkpoint" not in out
    for name in ("profile.json", "heat_map.png"):
        killed, unbroken = (tmp_path / folder / name for folder in ("killed", "unbroken"))
        assert killed.read_bytes() == unbroken.read_bytes(), name


@pytest.fixture
def interrupted(tiny_model, prompt_file, tmp_path, layerlab, every_shard):
    """A run stopped by Ctrl-C after four of its ten shards: a function to run it again."""
    out = tmp_path / "out"

    def run(*more):
        common = ("--prompts", prompt_file, "--out", out, "--batch-tokens", 1, "--layers=-2,-3")
        return layerlab("profile", tiny_model(), *common, *more)

    measure, calls = ProfileMeter.measure, []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProfileMeter, "measure", stopping)
        status, _, err = run()
    assert status == 130 and "interrupted" in err
    assert [path.name for path in out.iterdir()] == [".checkpoint"]
    run.out = out
    return run


def test_the_same_run_goes_on_where_it_stopped(interrupted):
    status, out, _ = interrupted()
    assert status == 0 and "Going on from a checkpoint: 4 prompts are done." in out
    assert json.loads((interrupted.out / "profile.json").read_text())["prompts"] == 10


def test_groups_of_shards_go_on_behind_the_last_whole_one_to_the_same_bits(
    tiny_model, prompt_file, tmp_path, layerlab, every_shard, monkeypatch
):
    """The results of Ray, without it: each of three shards, the last of one."""
    measure_all, stop_before = ProfileMeter.measure_all, None

    def in_groups(self, *arguments):
        parts = (part for part, _ in measure_all(self, *arguments))
        for number, group in enumerate(merge_groups(parts, ProfileStats.merge, 3)):
            if number == stop_before:
                raise KeyboardInterrupt
            yield group

    monkeypatch.setattr(ProfileMeter, "measure_all", in_groups)

    def run(name):
        common = ("--prompts", prompt_file, "--batch-tokens", 1, "--layers=-2,-3")
        return layerlab("profile", tiny_model(), *common, "--out", tmp_path / name)

    stop_before = 2
    assert run("interrupted")[0] == 130
    stop_before = None
    status, out, _ = run("interrupted")
    assert status == 0 and "Going on from a checkpoint: 6 prompts are done." in out
    assert run("unbroken")[0] == 0
    files = [tmp_path / name / "profile.json" for name in ("interrupted", "unbroken")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("more", "differing"),
    [
        (["--layers=-2"], "layers differ"),
        (["--dtype=bfloat16"], "dtype differ"),
        (["--batch-tokens=40"], "batch tokens differ"),
    ],
)
def test_another_run_starts_anew_and_says_why(interrupted, more, differing):
    status, out, _ = interrupted(*more)
    assert status == 0 and "Starting anew" in out and differing in out
    assert "Going on" not in out
    profile = json.loads((interrupted.out / "profile.json").read_text())
    assert (profile["prompts"], profile["tokens"]) == (10, 162)


def test_other_prompts_start_anew(interrupted, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("w1\nw2\n")
    status, out, _ = interrupted("--prompts", other)
    assert status == 0 and "prompts differ" in out


def test_a_damaged_checkpoint_starts_anew(interrupted):
    path = interrupted.out / ".checkpoint" / "profile.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    status, out, _ = interrupted()
    assert status == 0 and "Starting anew" in out and "cannot be read" in out
    assert json.loads((interrupted.out / "profile.json").read_text())["prompts"] == 10


def test_checkpoints_keep_the_pace(tmp_path, monkeypatch):
    """They take a twentieth of the time, however large they are."""
    from zimage_layer_lab.core.profile.profile import ProfileStats

    now = [100.0]
    monkeypatch.setattr(profile_checkpoint.time, "monotonic", lambda: now[0])
    save_file = profile_checkpoint.save_file

    def slowly(*arguments):
        now[0] += 3.0
        save_file(*arguments)

    monkeypatch.setattr(profile_checkpoint, "save_file", slowly)
    checkpoint = profile_checkpoint.Checkpoint(tmp_path, {})
    stats = ProfileStats(2, 4)
    assert checkpoint.save(stats, 1)
    now[0] += 59
    assert not checkpoint.save(stats, 2)
    now[0] += 2
    assert checkpoint.save(stats, 3)
    assert profile_checkpoint.Checkpoint(tmp_path, {}).load()[1] == 3
