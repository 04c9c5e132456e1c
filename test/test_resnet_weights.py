"""Where a ResNet's weights start from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.checkpoint import save_network
from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.networks.layers.resnet import ResNet
from hand_mesh_ros.networks.maskhand import MaskHand, MaskHandConfig
from hand_mesh_ros.networks.resnet_weights import load_resnet


def test_torchvisions_file(tmp_path: Path):
    torch.manual_seed(0)
    source, wanted = ResNet("resnet18", 16), ResNet("resnet18", 16)
    path = tmp_path / "resnet18.safetensors"
    save_file({**source.state_dict(), "fc.weight": torch.zeros(1000, 128)}, path)
    load_resnet(wanted, str(path))
    for name, tensor in source.state_dict().items():
        assert torch.equal(wanted.state_dict()[name], tensor), name


def test_a_network_of_ours(tmp_path: Path):
    torch.manual_seed(0)
    model = load_open_hand()
    config = MaskHandConfig(
        backbone="resnet18", image_size_px=64, stage_width=16, width=48, heads=2, layers=1
    )
    network = MaskHand(config, model)
    path = tmp_path / "maskhand.safetensors"
    save_network(path, "maskhand", network, config, model, preprocessing={}, training={})
    wanted = ResNet("resnet18", 16)
    load_resnet(wanted, str(path))
    assert torch.equal(wanted.conv1.weight, network.context.maps.backbone.conv1.weight)
    with pytest.raises(CheckpointError, match=r"maskhand\.safetensors: .*is .16, 16, 3, 3"):
        load_resnet(ResNet("resnet18", 8), str(path))


def test_the_trained_trunk_in_the_package():
    network = ResNet("resnet18")
    before = network.layer4[1].conv2.weight.clone()
    load_resnet(network, "m3dhmr")
    assert not torch.equal(network.layer4[1].conv2.weight, before)
    assert all(torch.isfinite(x).all() for x in network.state_dict().values())


def test_what_has_no_resnet_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="'lifter' has no ResNet; expected one of"):
        load_resnet(ResNet("resnet18"), "lifter")
    with pytest.raises(CheckpointError, match="no checkpoint 'none'"):
        load_resnet(ResNet("resnet18"), "none")
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_resnet(ResNet("resnet18"), str(path))
