"""Every mask supervision of the paper's Table 3: shapes, gradients, parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.features import FeatureAugmentation
from osmis_core.data.size_plan import SizePlan, plan_size
from osmis_core.losses import adversarial_loss, class_weights
from osmis_core.models.discriminator import DiscriminatorConfig, OsmisDiscriminator
from osmis_core.models.generator import Generator, GeneratorConfig, draw_latents
from osmis_core.models.judgement import ContentLogits, Judgement
from osmis_core.models.projected import ProjectedDiscriminator
from osmis_core.models.spectral import SpectrallyNormalised, fold_spectral_norms
from osmis_core.models.supervision.base import MaskSupervision
from osmis_core.models.supervision.choice import osmis_supervision, projected_supervision
from osmis_core.models.supervision.concatenation import InputConcatenation
from osmis_core.models.supervision.content_attention import MaskedContentAttention
from osmis_core.models.supervision.projection import Projection
from osmis_core.training.real_pairs import image_pyramid
from tests.draws import drawn_by

NAMES = ("none", "projection", "input_concat", "mask_discriminator", "mca")
WITH_MASKS = NAMES[1:]
SIZES = [(32, 32), (32, 128), (128, 32), (64, 80), (33, 97)]
AREA_K = torch.tensor([0.7, 0.2, 0.1])
K = len(AREA_K)


def discriminator(name: str, size: SizePlan, low: int | None = None) -> OsmisDiscriminator:
    torch.manual_seed(0)
    config = DiscriminatorConfig(
        class_count=K,
        blocks=size.discriminator_blocks,
        low_level_blocks=low or size.low_level_blocks,
    )
    return OsmisDiscriminator(config, AREA_K, osmis_supervision(name, config))


def projected(name: str) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(K, AREA_K, projected_supervision(name, K))


def pyramid(size: SizePlan, batch: int = 2) -> list[Tensor]:
    image = torch.rand(batch, 3, size.train_h, size.train_w) * 2 - 1
    return image_pyramid(image, size.generator_blocks)


def soft_mask(size: SizePlan, batch: int = 2) -> Tensor:
    return torch.randn(batch, K, size.train_h, size.train_w).softmax(1)


def all_logits(judged: Judgement) -> list[Tensor]:
    content = [c.logits_BKN if isinstance(c, ContentLogits) else c for c in judged.content]
    return [*judged.low_level, *judged.layout, *content, *judged.pairs]


def mask_gradient(network: OsmisDiscriminator | ProjectedDiscriminator, size: SizePlan) -> float:
    """Sum over |gradient| of the generator's loss with respect to a soft mask."""
    mask = soft_mask(size).requires_grad_()
    judged = network.judge(network.perceive(pyramid(size)), mask)
    loss = adversarial_loss(judged, "generator", class_weights(AREA_K, "osmis")).total
    (gradient,) = torch.autograd.grad(loss, mask, allow_unused=True)
    return 0.0 if gradient is None else float(gradient.abs().sum())


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_every_part_decides_at_every_size(name: str, height: int, width: int) -> None:
    size = plan_size(height, width)
    network = discriminator(name, size)
    augmentation = FeatureAugmentation(1.0, drawn_by(torch.Generator().manual_seed(0)))
    for augment in (None, augmentation):
        judged = network.judge(network.perceive(pyramid(size)), soft_mask(size), augment)
        split = size.discriminator_blocks - size.low_level_blocks
        assert len(judged.low_level) == size.low_level_blocks
        assert len(judged.layout) == len(judged.content) == split
        assert all(x.shape[:2] == (2, 1) for x in (*judged.low_level, *judged.layout))
        assert all(x.numel() > 0 and bool(x.isfinite().all()) for x in all_logits(judged))
        assert judged.low_level[0].shape[2:] == (-(-size.train_h // 2), -(-size.train_w // 2))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 128), (64, 80)])
@pytest.mark.parametrize("name", NAMES)
def test_the_mask_gets_a_gradient_from_all_but_none(name: str, height: int, width: int) -> None:
    size = plan_size(height, width)
    gradient = mask_gradient(discriminator(name, size), size)
    assert (gradient > 0) == (name != "none")


@pytest.mark.parametrize("name", ["none", "mca"])
def test_on_frozen_features_too(name: str) -> None:
    size = plan_size(64, 80)
    network = projected(name)
    judged = network.judge(network.perceive(pyramid(size)), soft_mask(size))
    assert all(bool(x.isfinite().all()) for x in all_logits(judged))
    assert (mask_gradient(network, size) > 0) == (name != "none")


@pytest.mark.parametrize("name", NAMES)
def test_content_is_real_or_fake_except_under_masked_content_attention(name: str) -> None:
    size = plan_size(64, 80)
    judged = discriminator(name, size).judge(pyramid(size), soft_mask(size))
    for layer in judged.content:
        if name == "mca":
            assert isinstance(layer, ContentLogits)
            assert layer.logits_BKN.shape == (2, K, K + 1)
        else:
            assert isinstance(layer, Tensor)
            assert layer.shape == (2, 1, 1)


def parameter_count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_what_an_option_does_not_use_does_not_exist() -> None:
    size = plan_size(64, 80)
    count = {name: parameter_count(discriminator(name, size)) for name in NAMES}
    plain = discriminator("none", size)
    assert not list(plain.supervision.parameters())
    assert [layer.out_features for layer in plain.content_heads] == [1] * len(plain.content_heads)
    assert [layer.in_channels for layer in plain.from_rgb] == [3] * size.low_level_blocks
    low = plain.config.low_level_widths
    split = size.discriminator_blocks - size.low_level_blocks
    assert count["projection"] - count["none"] == K * (sum(low) + split)
    rgb = sum(layer.out_channels for layer in plain.from_rgb)
    assert count["input_concat"] - count["none"] == 9 * K * rgb
    own = discriminator("mask_discriminator", size).supervision
    assert count["mask_discriminator"] - count["none"] == parameter_count(own)
    assert not list(discriminator("mca", size).supervision.parameters())
    heads = sum(layer.in_features + 1 for layer in plain.content_heads)
    assert count["mca"] - count["none"] == K * heads
    assert parameter_count(projected("none")) < parameter_count(projected("mca"))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    size = plan_size(64, 80)
    network = discriminator(name, size)
    judged = network.judge(pyramid(size), soft_mask(size))
    adversarial_loss(judged, "real", class_weights(AREA_K, "osmis")).total.backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None]
    assert idle == []


def test_masked_content_attention_is_the_default_and_keeps_its_parameters_names() -> None:
    """Checkpoints of earlier versions hold these names, in this order, and none besides."""
    size = plan_size(64, 80)
    config = DiscriminatorConfig(
        class_count=K, blocks=size.discriminator_blocks, low_level_blocks=size.low_level_blocks
    )
    default, chosen = OsmisDiscriminator(config, AREA_K), discriminator("mca", size)
    assert list(default.state_dict()) == list(chosen.state_dict())
    assert not [name for name in default.state_dict() if name.startswith("supervision")]
    groups = list(dict.fromkeys(n.split(".")[0] for n, _ in default.named_parameters()))
    assert groups == [
        *("from_rgb", "low", "content", "layout"),
        *("low_heads", "content_heads", "layout_heads"),
    ]
    assert isinstance(ProjectedDiscriminator(K, AREA_K).supervision, MaskedContentAttention)


def test_projection_adds_the_inner_product_with_the_embedding_of_each_positions_class() -> None:
    torch.manual_seed(1)
    projection = Projection(K, low_level_widths=(4, 8), layout_layers=1)
    fold_spectral_norms(projection)  # σ = 1: the weight is the embedding
    classes_BHW = torch.randint(K, (2, 3, 5))
    mask = F.one_hot(classes_BHW, K).permute(0, 3, 1, 2).float()
    features, logits = torch.randn(2, 8, 3, 5), torch.randn(2, 1, 3, 5)
    (layer,) = (m for n, m in projection.named_modules() if n == "embeddings.low_level.1")
    assert isinstance(layer, SpectrallyNormalised)
    embedding_KC = layer.weight.flatten(1)
    expected = logits[:, 0] + torch.einsum("bchw,bhwc->bhw", features, embedding_KC[classes_BHW])
    decided = projection.decide("low_level", 1, logits, features, mask)
    torch.testing.assert_close(decided[:, 0], expected)


def test_an_unlabelled_position_is_judged_by_its_features_alone() -> None:
    projection = Projection(K, low_level_widths=(4,), layout_layers=1)
    logits = torch.randn(2, 1, 3, 5)
    decided = projection.decide(
        "low_level", 0, logits, torch.randn(2, 4, 3, 5), torch.zeros(2, K, 6, 10)
    )
    torch.testing.assert_close(decided, logits)


def test_concatenated_masks_keep_thin_objects_at_coarse_scales() -> None:
    images = image_pyramid(torch.rand(1, 3, 32, 64), 3)
    mask = torch.zeros(1, 2, 32, 64)
    mask[:, 1, :, 9] = 1
    mask[:, 0] = 1 - mask[:, 1]
    inputs = InputConcatenation(2).inputs(images, mask)
    assert [tuple(x.shape) for x in inputs] == [(1, 5, 8, 16), (1, 5, 16, 32), (1, 5, 32, 64)]
    for image, both in zip(images, inputs, strict=True):
        torch.testing.assert_close(both[:, :3], image)
        assert float(both[:, 4].mean()) == pytest.approx(1 / 64)


def test_the_mask_discriminators_loss_stands_beside_the_others() -> None:
    size = plan_size(64, 80)
    judged = discriminator("mask_discriminator", size).judge(pyramid(size), soft_mask(size))
    loss = adversarial_loss(judged, "generator", class_weights(AREA_K, "osmis"))
    assert len(judged.pairs) == size.low_level_blocks
    assert loss.pairs is not None
    parts = 0.25 * loss.object + 0.25 * loss.layout + 0.5 * loss.low_level
    torch.testing.assert_close(loss.total, parts + loss.pairs)


def test_without_supervision_the_content_vector_is_the_global_average() -> None:
    features = torch.randn(2, 4, 3, 5)
    vectors = MaskSupervision().content_vectors(features, torch.ones(2, 1, 3, 5))
    torch.testing.assert_close(vectors, features.mean((2, 3))[:, None])


@pytest.mark.parametrize("low", [1, 2, 3, 4, 5])
def test_low_level_blocks_move_the_split(low: int) -> None:
    size = plan_size(128, 128)
    assert low < size.discriminator_blocks
    for name in NAMES:
        judged = discriminator(name, size, low).judge(pyramid(size), soft_mask(size))
        assert len(judged.low_level) == low
        assert len(judged.layout) == size.discriminator_blocks - low


def test_unknown_names_are_refused() -> None:
    config = DiscriminatorConfig(class_count=K, blocks=5, low_level_blocks=2)
    with pytest.raises(ValueError, match="magic"):
        osmis_supervision("magic", config)
    with pytest.raises(ValueError, match="projection"):
        projected_supervision("projection", K)


def test_a_generator_of_one_class_has_no_mask_head() -> None:
    config = GeneratorConfig(class_count=1, grid_h=4, grid_w=5, blocks=4)
    generator = Generator(config)
    assert not [name for name in generator.state_dict() if name.startswith("mask_head")]
    made = generator(draw_latents(config, 0, range(2)))
    assert made.images_BCHW[-1].shape == (2, 3, 32, 40)
    torch.testing.assert_close(made.mask_BKHW, torch.ones(2, 1, 32, 40))
