"""On Ray: the numbers of one process, also when a worker is killed."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.prompt_tokenizer import PromptTokenizer
from zimage_layer_lab.cli.profile.batches import TokenizedPrompts, TokenLimits, plan_batches
from zimage_layer_lab.cli.profile.meter import ProfileMeter
from zimage_layer_lab.cli.profile.prompt_file import PromptFile
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

ray = pytest.importorskip("ray", reason="ray, an optional extra, is not installed")

from zimage_layer_lab.cli.profile.on_ray import ClusterError, RayMeters, ray_meters  # noqa: E402

pytestmark = pytest.mark.slow

PROMPTS = [
    "a cat",
    "a red bicycle leaning against a blue wall, late afternoon",
    "水墨画，一只猫坐在窗台上看雨",
    "portrait of an old clockmaker in his workshop, rembrandt lighting, a hundred clocks around",
    "fog",
    "isometric city block at night, rain, neon signs in three languages",
    "a lighthouse",
    "macro photograph of a beetle on a leaf, dew, morning light, very shallow depth of field",
    "two astronauts playing chess",
    "a single green apple on a white table",
]


class Work:
    """SmolLM2's prompts, their plan, and what one process makes of them."""

    def __init__(self, smollm2, folder, path):
        path.write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
        limits = TokenLimits.of(smollm2.model.config)
        tokenizer = PromptTokenizer(smollm2.tokenizer)
        self.prompts = TokenizedPrompts.count(PromptFile(path), tokenizer, limits)
        self.plan = plan_batches(self.prompts.lengths, 60)
        self.indices = range(smollm2.blocks + 1)
        meter = ProfileMeter(folder, "cpu", "float32")
        meter._model = smollm2
        self.facts = meter.facts()
        self.alone = self.merge(meter)

    def merge(self, meters, after_first=lambda: None, done=lambda prompts, tokens: None):
        stats = None
        shards = self.plan.read(range(self.plan.shards), self.prompts)
        for part, _ in meters.measure_all(shards, self.indices, done):
            if stats is None:
                after_first()
            stats = part if stats is None else stats.merge(part)
        return stats


@pytest.fixture(scope="module")
def folder(smollm2, tmp_path_factory):
    """The real SmolLM2 as safetensors, which a worker loads faster than the GGUF file."""
    folder = tmp_path_factory.mktemp("models") / smollm2.name
    folder.mkdir()
    config = smollm2.model.config.to_dict()
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config, default=str))
    weights = {k: v for k, v in smollm2.model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    smollm2.tokenizer.save_pretrained(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def work(smollm2, folder, tmp_path_factory):
    return Work(smollm2, folder, tmp_path_factory.mktemp("ray") / "prompts.txt")


@pytest.fixture(scope="module")
def workers(work, folder):
    """Two workers on a local Ray, each with the real SmolLM2."""
    with ray_meters("local", 2, folder, "cpu", "float32") as meters:
        yield meters


def assert_equal(found, expected):
    """Every number to 1e-6 relative; counts and places exactly."""
    assert (found.prompts, found.tokens) == (expected.prompts, expected.tokens)
    for index in expected.indices:
        a, b = found.dimensions[index], expected.dimensions[index]
        for one, other in ((a.all, b.all), (a.without_sinks, b.without_sinks), (a.sinks, b.sinks)):
            assert one.count.tolist() == other.count.tolist()
            np.testing.assert_allclose(one.std, other.std, rtol=1e-6)
            scale = float(other.max_abs.max()) * 1e-6
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-6, atol=scale)
            np.testing.assert_allclose(one.low, other.low, rtol=1e-6, atol=scale)
            np.testing.assert_allclose(one.high, other.high, rtol=1e-6, atol=scale)
        assert found.sink_positions(index) == expected.sink_positions(index)
        median = expected.magnitudes[index].median()
        assert found.magnitudes[index].median() == pytest.approx(median, rel=1e-6)
    ours, theirs = summarise(found, "x"), summarise(expected, "x")
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert one.massive == other.massive
        dimensions = [[entry.dimension for entry in layer.outliers] for layer in (one, other)]
        assert dimensions[0] == dimensions[1]
        for name in ("max_abs", "median_abs", "std", "std_without_sinks"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6)


def test_two_workers_give_the_numbers_of_one_process(work, workers):
    heard = []
    assert workers.facts() == work.facts
    assert work.plan.shards > 4
    found = work.merge(workers, done=lambda prompts, tokens: heard.append((prompts, tokens)))
    assert_equal(found, work.alone)
    assert [sum(part) for part in zip(*heard, strict=True)] == [10, work.prompts.tokens]


def test_of_many_shards_the_driver_fetches_few_results(work, workers, monkeypatch):
    """Those it fetches have the same bits whichever worker measured what."""
    get, fetched = ray.get, []

    def counting(*arguments, **options):
        found = get(*arguments, **options)
        fetched.append(isinstance(found, ProfileStats))
        return found

    monkeypatch.setattr(ray, "get", counting)
    runs = []
    for meters in (workers._meters, workers._meters[::-1][:1]):
        fetched.clear()
        runs.append(work.merge(RayMeters(meters, group_shards=4)))
        assert sum(fetched) == -(-work.plan.shards // 4) < work.plan.shards
    assert_equal(runs[0], work.alone)
    for index in work.indices:
        one, other = (run.dimensions[index].all for run in runs)
        assert torch.equal(one.mean, other.mean) and torch.equal(one.m2, other.m2)


def process_ids(workers):
    return ray.get([m.__ray_call__.remote(lambda self: os.getpid()) for m in workers._meters])


def test_a_worker_killed_in_the_middle_costs_only_time(work, workers):
    before = process_ids(workers)
    assert len(set(before)) == 2
    found = work.merge(workers, after_first=lambda: os.kill(before[0], signal.SIGKILL))
    assert_equal(found, work.alone)
    after = process_ids(workers)
    assert after[0] != before[0] and after[1] == before[1]


def test_the_command_on_a_local_ray_writes_the_same_profile(
    tiny_model, prompt_file, tmp_path, layerlab, layerlab_process
):
    """Its workers find the package and the model by themselves."""
    common = ("profile", tiny_model(), "--prompts", prompt_file, "--batch-tokens", 40)
    process = layerlab_process(*common, "--out", tmp_path / "ray", "--ray", "local")
    status, _, _ = layerlab(*common, "--out", tmp_path / "alone")
    out, err = process.communicate(timeout=400)
    assert (process.returncode, status) == (0, 0), err
    assert "2 Ray workers on cpu" in " ".join(out.split()) and "tokens/s" in out
    found, expected = (
        json.loads((tmp_path / name / "profile.json").read_text()) for name in ("ray", "alone")
    )
    assert found.keys() == expected.keys()
    for one, other in zip(found["layers"], expected["layers"], strict=True):
        for name in ("max_abs", "median_abs", "std", "std_without_sinks"):
            assert one[name] == pytest.approx(other[name], rel=1e-6)
    assert {p.name for p in (tmp_path / "ray").iterdir()} == {
        p.name for p in (tmp_path / "alone").iterdir()
    }


def test_images_on_a_local_ray_give_the_same_profile(
    tiny_vision_model, pictures, tmp_path, layerlab, layerlab_process
):
    common = ("profile", tiny_vision_model, "--images", pictures[0], "--max-image-tokens", 80)
    process = layerlab_process(*common, "--out", tmp_path / "ray", "--ray", "local")
    assert layerlab(*common, "--out", tmp_path / "alone")[0] == 0
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "2 Ray workers on cpu" in " ".join(out.split()) and "4/4 images" in out
    found, expected = (
        json.loads((tmp_path / name / "profile.json").read_text()) for name in ("ray", "alone")
    )
    assert found["images"] == expected["images"] == 4 and found["tokens"] == expected["tokens"]
    for one, other in zip(found["layers"], expected["layers"], strict=True):
        for name in ("max_abs", "median_abs", "std", "std_without_sinks"):
            assert one[name] == pytest.approx(other[name], rel=1e-6)


def test_what_goes_wrong_on_a_worker_is_told(workers, model_copy):
    """The workers of the fixture keep their CPUs; this one needs none."""
    (model_copy / "model.safetensors").write_bytes(b"")
    damaged = ray.remote(ProfileMeter).options(num_cpus=0).remote(model_copy, "cpu", "float32")
    meters = type(workers)([damaged])
    with pytest.raises(ModelError, match="on a Ray worker: .*model: the weights cannot be read"):
        meters.facts()


def test_a_worker_that_dies_for_good_is_told(workers, tiny_model):
    meter = ray.remote(ProfileMeter).options(num_cpus=0).remote(tiny_model(), "cpu", "float32")
    meters = type(workers)([meter])
    assert meters.facts().blocks == 4
    ray.kill(meter)
    until = time.monotonic() + 60
    with pytest.raises(ClusterError, match="a Ray worker was lost for good"):
        # The order to die and a call go two ways: the call may be there first.
        while time.monotonic() < until:
            meters.facts()


def test_workers_with_different_models_are_refused(workers, tiny_model):
    remote = ray.remote(ProfileMeter).options(num_cpus=0)
    meters = [remote.remote(tiny_model(layout), "cpu", "float32") for layout in ("llama", "qwen2")]
    with pytest.raises(ClusterError, match="the workers have different models"):
        type(workers)(meters).facts()


def test_more_workers_than_gpus_are_refused(workers):
    from zimage_layer_lab.cli.profile.on_ray import _share

    if ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has GPUs")
    with pytest.raises(ClusterError, match="this Ray has 0 GPUs"):
        _share(2, "cuda")
    with pytest.raises(ClusterError, match=r"--workers 9999: this Ray has \d+ CPUs"):
        _share(9999, "cpu")
