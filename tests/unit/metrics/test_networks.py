"""Scoring networks: shapes, input conventions, and what they may be called."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import inception_v3

from osmis_core.metrics import (
    LpipsDistance,
    SourceScorer,
    load_scoring_network,
    mean_pairwise_lpips,
)
from osmis_core.metrics.lpips import chosen_pairs
from osmis_core.metrics.shift_tolerant import (
    ScoringWeightsError,
    ShiftTolerantNet,
    read_shift_tolerant_weights,
)


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_vgg_layers_and_names() -> None:
    network = load_scoring_network()
    features = network.features(picture(0))
    assert [f.shape[0] for f in features] == [64, 128, 256, 512]
    assert features[0].shape[1:] == (48, 64)
    assert network.name == "VGG-16 shift-tolerant"
    assert "SIFID" not in network.distance_name
    assert len(network.weights_sha256) == 64


def test_large_images_are_scored_at_384_px() -> None:
    network = load_scoring_network()
    assert network.scoring_size(480, 854) == (216, 384)
    assert network.scoring_size(303, 384) == (303, 384)


def test_shift_tolerance() -> None:
    """The point of the low-pass before every stride: a shift by a pixel changes little."""
    net = ShiftTolerantNet("vgg", read_shift_tolerant_weights("vgg").tensors, stage_count=3)
    image = torch.tensor(picture(3, 64, 96)).permute(2, 0, 1)[None] / 127.5 - 1
    still, moved = net(image[..., :64])[2], net(image[..., 1:65])[2]
    change = (still - moved)[..., 4:-4, 4:-4].norm() / still[..., 4:-4, 4:-4].norm()
    assert change < 0.45


def test_reading_weights_does_not_import_the_package() -> None:
    code = (
        "import sys; from osmis_core.metrics import load_scoring_network; load_scoring_network();"
        "bad = {'stlpips_pytorch', 'IPython', 'torchsummary', 'scipy'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_inception_layers_and_name(inception_file: Path) -> None:
    network = load_scoring_network(inception_file, sha256(inception_file))
    features = network.features(picture(1, 192, 192))
    assert [f.shape[0] for f in features] == [64, 192, 768, 2048]
    assert network.distance_name == "SIFID"
    assert network.scoring_size(480, 854) == (480, 854), "SIFID is measured without resizing"


def test_inception_matches_torchvision(inception_file: Path) -> None:
    network = load_scoring_network(inception_file, sha256(inception_file))
    reference = inception_v3(
        weights=None, aux_logits=True, transform_input=False, init_weights=False
    )
    reference.load_state_dict(torch.load(inception_file, weights_only=True))
    reference.eval()
    seen: dict[str, torch.Tensor] = {}
    for name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_6e", "Mixed_7c"):
        module = getattr(reference, name)
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    image = torch.tensor(picture(2, 96, 96)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        reference(image)
        ours = network.net(image)
    for expected, found in zip(seen.values(), ours, strict=True):
        assert torch.allclose(expected, found, atol=1e-5)


def test_inception_weights_must_be_declared_and_right(inception_file: Path) -> None:
    with pytest.raises(ScoringWeightsError, match="sha256"):
        load_scoring_network(inception_file)
    with pytest.raises(ScoringWeightsError, match="sha256"):
        load_scoring_network(inception_file, "0" * 64)
    with pytest.raises(ScoringWeightsError, match="No weights"):
        load_scoring_network(inception_file.with_name("none.pth"), "0" * 64)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"weights": Path("x")}, path)
    with pytest.raises(ScoringWeightsError, match="Cannot read"):
        load_scoring_network(path, sha256(path))


def test_too_small_for_inception(inception_file: Path) -> None:
    network = load_scoring_network(inception_file, sha256(inception_file))
    with pytest.raises(ScoringWeightsError) as caught:
        network.features(picture(0))
    assert caught.value.code == "too_small_to_score"


def test_scorer_leaves_out_thin_layers_and_names_them() -> None:
    network = load_scoring_network()
    small = SourceScorer(network, picture(0, 16, 16))
    assert small.left_out == ("conv4_3",) or "conv4_3" in small.left_out
    assert set(small.layer_names) | set(small.left_out) == set(network.layer_names)
    assert small.distances(picture(1, 16, 16)).shape == (len(small.layer_names),)


def test_scorer_orders_spoiled_images() -> None:
    source = picture(0)
    scorer = SourceScorer(load_scoring_network(), source)
    mirrored = scorer.distances(source[:, ::-1].copy())
    noise = np.random.default_rng(0).normal(0, 40, source.shape)
    noisy = scorer.distances((source + noise).clip(0, 255).astype(np.uint8))
    assert scorer.distances(source).max() < 1e-3 * mirrored.max()
    assert (mirrored < noisy).all()


def test_lpips_is_a_distance() -> None:
    metric = LpipsDistance()
    first, second = picture(0), picture(1)
    near = (first.astype(int) + 6).clip(0, 255).astype(np.uint8)
    assert metric(first, first) == 0
    assert metric(first, second) == pytest.approx(metric(second, first))
    assert 0 < metric(first, near) < metric(first, second)
    assert metric.name == "LPIPS, AlexNet shift-tolerant"


def test_lpips_agrees_with_the_written_out_formula() -> None:
    weights = read_shift_tolerant_weights("vgg")
    net = ShiftTolerantNet("vgg", weights.tensors)
    metric = LpipsDistance("vgg")
    images = [picture(0), picture(1)]
    features = [net(torch.tensor(i).permute(2, 0, 1)[None] / 127.5 - 1) for i in images]
    expected = 0.0
    for layer in range(5):
        a, b = (f[layer] / f[layer].norm(dim=1, keepdim=True) for f in features)
        head = weights.tensors[f"lin{layer}.model.1.weight"]
        expected += float((head * (a - b) ** 2).sum(1).mean())
    assert metric(*images) == pytest.approx(expected, rel=1e-3)


def test_pairs_are_seeded_and_distinct() -> None:
    assert len(chosen_pairs(5, 100, 0)) == 10
    some = chosen_pairs(40, 50, 1)
    assert some == chosen_pairs(40, 50, 1) != chosen_pairs(40, 50, 2)
    assert len(set(some)) == 50
    assert all(0 <= i < j < 40 for i, j in some)


def test_mean_pairwise_lpips() -> None:
    images = [picture(i) for i in range(3)]
    metric = LpipsDistance()
    pairs = [metric(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert mean_pairwise_lpips(images, metric=metric) == pytest.approx(np.mean(pairs))
    assert mean_pairwise_lpips([images[0]] * 2, metric=metric) == 0
    with pytest.raises(ValueError, match="two images"):
        mean_pairwise_lpips(images[:1])
