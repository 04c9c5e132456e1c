"""The vision transformer: timm's names and shapes, positions of other sizes, masks, freezing."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

from hand_mesh_ros.networks.checkpoint_file import CheckpointError
from hand_mesh_ros.networks.layers.vit import (
    SIZES,
    VisionTransformer,
    load_vit_weights,
    resized_positions,
)
from hand_mesh_ros.networks.vit_weights import load_vit_file

OF_A_BLOCK = {
    "norm1.weight": (384,),
    "norm1.bias": (384,),
    "attn.qkv.weight": (1152, 384),
    "attn.qkv.bias": (1152,),
    "attn.proj.weight": (384, 384),
    "attn.proj.bias": (384,),
    "norm2.weight": (384,),
    "norm2.bias": (384,),
    "mlp.fc1.weight": (1536, 384),
    "mlp.fc1.bias": (1536,),
    "mlp.fc2.weight": (384, 1536),
    "mlp.fc2.bias": (384,),
}
# timm's vit_small_patch16_224 without its classifier.
TIMM_SMALL = {
    "cls_token": (1, 1, 384),
    "pos_embed": (1, 197, 384),
    "patch_embed.proj.weight": (384, 3, 16, 16),
    "patch_embed.proj.bias": (384,),
    **{f"blocks.{i}.{name}": shape for i in range(12) for name, shape in OF_A_BLOCK.items()},
    "norm.weight": (384,),
    "norm.bias": (384,),
}


def tiny(size_px=64, **changes):
    torch.manual_seed(3)
    return VisionTransformer("tiny", size_px, **changes).eval()


def images(n=2, size_px=64):
    return torch.rand(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def test_names_and_shapes_are_timms():
    state = VisionTransformer("small", 224).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == TIMM_SMALL
    masked = VisionTransformer("small", 224, masked=True).state_dict()
    assert set(masked) - set(state) == {"mask_token"}


@pytest.mark.parametrize(
    ("name", "millions"), [("tiny", 5.5), ("small", 21.7), ("base", 85.8), ("large", 303.3)]
)
def test_numbers_of_parameters(name, millions):
    with torch.device("meta"):
        network = VisionTransformer(name, 224)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    width, _, heads = SIZES[name]
    assert width // heads == 64


def test_it_computes_what_the_formulas_say():
    """One block by hand, with attention written out."""
    network = tiny()
    x = torch.randn(2, 5, 192, generator=torch.Generator().manual_seed(0))
    block = network.blocks[0]
    with torch.no_grad():
        block.attn.qkv.weight.mul_(20.0)  # far from uniform attention
        y = torch.nn.functional.layer_norm(
            x, (192,), block.norm1.weight, block.norm1.bias, eps=1e-6
        )
        qkv = y @ block.attn.qkv.weight.T + block.attn.qkv.bias
        heads = []
        for h in range(3):
            q, k, v = (qkv[..., 192 * i + 64 * h : 192 * i + 64 * h + 64] for i in range(3))
            heads.append(torch.softmax(q @ k.transpose(1, 2) / 8.0, dim=-1) @ v)
        y = x + torch.cat(heads, 2) @ block.attn.proj.weight.T + block.attn.proj.bias
        z = torch.nn.functional.layer_norm(y, (192,), eps=1e-6)
        z = torch.nn.functional.gelu(z @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
        expected = y + z @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_patches_come_row_by_row_with_the_class_token_apart():
    network = tiny()
    with torch.no_grad():
        before = network(images())
        changed = images()
        changed[:, :, 16:32, 48:64] += 0.5  # row 1, column 3 of 4: patch 7
        embedded = network.patch_embed(changed) - network.patch_embed(images())
    assert (embedded.abs().amax((0, 2)) > 1e-3).tolist() == [i == 7 for i in range(16)]
    assert before.cls.shape == (2, 192)
    assert before.patches.shape == (2, 16, 192)
    assert before.taken == ()


def test_blocks_on_the_way_are_given_in_the_order_asked_for():
    network = tiny()
    with torch.no_grad():
        out = network(images(), take=(3, 12))
        last = network.norm(torch.cat([out.taken[1], out.taken[1]], 1))[:, :16]
    torch.testing.assert_close(last, out.patches)
    assert not torch.allclose(out.taken[0], out.taken[1], atol=0.1)


def test_hidden_patches_do_not_reach_the_output():
    network = tiny(masked=True)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 5] = True
    changed = images()
    changed[:, :, 16:32, 16:32] = 1.0
    with torch.no_grad():
        hidden, also = network(images(), mask), network(changed, mask)
        torch.testing.assert_close(hidden.cls, also.cls, atol=0.0, rtol=0.0)
        assert not torch.allclose(network(images()).cls, network(changed).cls)
        network.mask_token += 1.0
        assert not torch.allclose(network(images(), mask).cls, hidden.cls)


def test_positions_of_another_size_keep_their_places():
    """A linear ramp stays one away from the edges, in both axes, and the class token's stays."""
    x, y = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy")
    positions = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([x, y], 2).view(1, 64, 2)], 1)
    larger = resized_positions(positions, 16, 12)
    assert larger[0, 0].tolist() == [9.0, 9.0]
    maps = larger[0, 1:].view(16, 12, 2)
    inner_x, inner_y = np.arange(3, 9), np.arange(4, 12)
    np.testing.assert_allclose(maps[8, 3:9, 0], (inner_x + 0.5) * 8 / 12 - 0.5, atol=0.06)
    np.testing.assert_allclose(maps[4:12, 5, 1], (inner_y + 0.5) * 0.5 - 0.5, atol=0.06)


def test_another_image_size_runs():
    network = tiny()
    with torch.no_grad():
        assert network(images(size_px=96)).patches.shape == (2, 36, 192)
    with pytest.raises(ValueError, match=r"image is \(2, 3, 60, 60\), expected .* multiples of 16"):
        network(images(size_px=60))


def test_imagenet_weights_load_with_their_classifier_and_size(tmp_path):
    source = tiny(96)
    state = {**source.state_dict(), "head.weight": torch.zeros(1000, 192)}
    target = tiny(64, masked=True)
    token = target.mask_token.detach().clone()
    load_vit_weights(target, state)
    torch.testing.assert_close(target.blocks[3].mlp.fc1.weight, source.blocks[3].mlp.fc1.weight)
    torch.testing.assert_close(target.pos_embed, resized_positions(source.pos_embed, 4, 4))
    torch.testing.assert_close(target.mask_token, token)
    path = tmp_path / "vit.safetensors"
    save_file({k: v.half() for k, v in state.items()}, path)
    again = tiny(64)
    load_vit_file(again, path)
    torch.testing.assert_close(again.norm.weight, source.norm.weight)
    torch.testing.assert_close(
        again.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight, atol=1e-4, rtol=1e-3
    )


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = tiny().state_dict()
    small = VisionTransformer("small", 64)
    with pytest.raises(ValueError, match=r"'cls_token' is .*192.*, the network's is .*384"):
        load_vit_weights(small, state)
    del state["norm.bias"]
    with pytest.raises(ValueError, match=r"'norm\.bias' is missing; expected timm's names"):
        load_vit_weights(tiny(), state)
    path = tmp_path / "vit.safetensors"
    save_file(state, path)
    with pytest.raises(CheckpointError, match=r"vit\.safetensors: ViT weights: 'norm\.bias'"):
        load_vit_file(tiny(), path)
    with pytest.raises(CheckpointError, match=r"none: no such file"):
        load_vit_file(tiny(), tmp_path / "none")
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_vit_file(tiny(), path)


def test_dropped_paths_keep_the_mean_and_only_while_training():
    block = tiny(drop_path=0.5).blocks[-1]
    assert block.drop_path == 0.5
    x = torch.randn(1, 3, 192, generator=torch.Generator().manual_seed(0)).expand(4000, -1, -1)
    with torch.no_grad():
        still = block.eval()(x)
        torch.manual_seed(0)
        branch = block._dropped(torch.ones(4000, 1, 1))
        assert branch.unique().tolist() == [1.0]
        moving = block.train()._dropped(torch.ones(4000, 1, 1))
    assert sorted(moving.unique().tolist()) == [0.0, 2.0]
    assert moving.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(still[0], still[-1])
    assert tiny(drop_path=0.5).blocks[0].drop_path == 0.0


def test_freezing_leaves_the_last_blocks_and_the_norm():
    network = tiny(drop_path=0.2)
    network.train_last_blocks(2)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"blocks", "norm"}
    assert {name.split(".")[1] for name in trained if name.startswith("blocks")} == {"10", "11"}
    assert [b.drop_path > 0.0 for b in network.blocks] == [False] * 10 + [True] * 2
    network.train_last_blocks(0)
    assert not any(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match="13 trained blocks, expected 0 to 12"):
        network.train_last_blocks(13)


def test_a_mask_needs_a_token_and_the_right_shape():
    mask = torch.zeros(2, 16, dtype=torch.bool)
    with pytest.raises(ValueError, match="no mask token; build it with masked=True"):
        tiny()(images(), mask)
    with pytest.raises(ValueError, match=r"mask is torch\.bool \(2, 9\), expected bool \(2, 16\)"):
        tiny(masked=True)(images(), mask[:, :9])
