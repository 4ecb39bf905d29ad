from __future__ import annotations

import pytest
import torch

from osmis_core.models.generator import Generator, GeneratorConfig, draw_latents
from osmis_core.models.spectral import SpectralConv2d, fold_spectral_norms, update_spectral_norms

CONFIG = GeneratorConfig(class_count=3, grid_h=3, grid_w=4, blocks=4, width_multiplier=0.25)


@pytest.mark.parametrize("noise_map", [False, True])
@pytest.mark.parametrize("multi_scale", [False, True])
def test_output_is_the_grid_doubled_by_every_block_but_the_first(
    noise_map: bool, multi_scale: bool
) -> None:
    config = GeneratorConfig(
        class_count=3,
        grid_h=3,
        grid_w=4,
        blocks=4,
        width_multiplier=0.25,
        noise_map=noise_map,
        multi_scale=multi_scale,
    )
    made = Generator(config)(draw_latents(config, 0, range(2)))
    sizes = [tuple(image.shape) for image in made.images_BCHW]
    every = [(2, 3, 3 * 2**i, 4 * 2**i) for i in range(4)]
    assert sizes == (every if multi_scale else every[-1:])
    assert made.mask_BKHW.shape == (2, 3, 24, 32)
    torch.testing.assert_close(made.mask_BKHW.sum(1), torch.ones(2, 24, 32))
    assert len(made.features_BCHW) == 4


def test_published_widths_are_the_last_entries_of_the_table() -> None:
    config = GeneratorConfig(class_count=2, grid_h=2, grid_w=2, blocks=5)
    made = Generator(config)(draw_latents(config, 0, range(1)))
    assert [f.shape[1] for f in made.features_BCHW] == [256, 256, 128, 64, 32]


def test_a_latent_depends_on_seed_and_index_alone() -> None:
    alone = draw_latents(CONFIG, 5, range(7, 8))
    in_batch = draw_latents(CONFIG, 5, range(4, 10))
    assert torch.equal(alone[0], in_batch[3])
    assert not torch.equal(alone, draw_latents(CONFIG, 6, range(7, 8)))


def test_upsampling_the_shortcut_after_its_convolution_changes_nothing() -> None:
    conv = SpectralConv2d(4, 6, 1, bias=False)
    x = torch.randn(1, 4, 5, 3)
    before = conv(torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
    after = torch.nn.functional.interpolate(conv(x), scale_factor=2, mode="nearest")
    torch.testing.assert_close(before, after)


def test_power_iteration_finds_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(5, 7, 3)
    update_spectral_norms(conv, iterations=200)
    exact = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
    torch.testing.assert_close(conv.sigma().detach(), exact, rtol=1e-4, atol=0)


def test_forward_passes_do_not_move_the_spectral_norm() -> None:
    generator = Generator(CONFIG).train()
    latents = draw_latents(CONFIG, 0, range(2))
    first = generator(latents).images_BCHW[-1]
    assert torch.equal(first, generator(latents).images_BCHW[-1])


def test_folding_leaves_a_converged_network_as_it_was() -> None:
    generator = Generator(CONFIG)
    update_spectral_norms(generator, iterations=500)
    latents = draw_latents(CONFIG, 0, range(2))
    before = generator(latents).images_BCHW[-1].detach()
    fold_spectral_norms(generator)
    after = generator(latents).images_BCHW[-1].detach()
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)
    conv = generator.blocks[0].conv1
    exact = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
    torch.testing.assert_close(exact, torch.tensor(1.0), rtol=1e-4, atol=0)
