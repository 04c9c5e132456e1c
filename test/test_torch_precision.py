"""Geometry keeps single precision where a network trains in half precision."""

import torch
from torch import nn

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.hand_models.torch_hand import TorchHand
from hand_mesh_ros.hand_models.torch_precision import in_single_precision
from hand_mesh_ros.networks.amvur import AMVUR, AMVURConfig


def test_skinning_inside_autocast_is_exact():
    model = load_open_hand()
    hand = TorchHand(model)
    random = torch.Generator().manual_seed(0)
    rotations = torch.linalg.qr(torch.randn(2, 16, 3, 3, generator=random)).Q
    shape = torch.randn(2, 10, generator=random)
    exact = hand(rotations, shape).vertices_m
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = hand(rotations, shape).vertices_m
    assert again.dtype == torch.float32
    assert torch.equal(again, exact)


def test_half_precision_arguments_become_single_and_other_ones_stay():
    linear = nn.Linear(4, 4)
    seen = []

    @in_single_precision
    def product(x: torch.Tensor, name: str, none: None) -> torch.Tensor:
        seen.append((x.dtype, name, none))
        return linear(x)

    x = torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x).dtype == torch.bfloat16
        assert product(x.bfloat16(), "a", None).dtype == torch.float32
    assert product(x, "b", None).dtype == torch.float32
    assert seen == [(torch.float32, "a", None), (torch.float32, "b", None)]


def test_amvur_with_texture_in_half_precision_is_finite():
    torch.manual_seed(0)
    config = AMVURConfig(
        encoder="resnet18",
        image_size_px=64,
        widths=(16,),
        heads=2,
        layers=1,
        hidden=32,
        texture="local",
        texture_width=16,
    )
    network = AMVUR(config, load_open_hand())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(**network.example_inputs(2))
    for name, values in out.items():
        assert torch.isfinite(values.float()).all(), name
    assert out["vertices_m"].dtype == torch.float32
