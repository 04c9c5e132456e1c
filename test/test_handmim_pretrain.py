"""HandMIM's pre-training: alignment, masks, views, teacher, centres, losses and their switches."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("tensorboard")

import cv2
import torch

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.hand_models.open_hand import load_open_hand
from hand_mesh_ros.networks.handmim_pretrain import HandMIMPretrain, HandMIMPretrainConfig
from hand_mesh_ros.networks.handmim_pretrain_losses import (
    MaskedView,
    SelfDistillation,
    Temperatures,
    feature_spread,
    mean_entropy,
    pixel_loss,
)
from hand_mesh_ros.networks.layers.distillation import (
    Center,
    DistillationHead,
    Teacher,
    cross_entropy,
    teacher_probabilities,
)
from hand_mesh_ros.networks.layers.pixel_decoder import PixelDecoder
from hand_mesh_ros.networks.layers.pseudo_keypoints import (
    ViewGeometry,
    aligned_logits,
    points_in_image,
    points_in_view,
)
from hand_mesh_ros.training.batch_stream import BatchStream
from hand_mesh_ros.training.datasets.base import DatasetError
from hand_mesh_ros.training.hand_crops import HandCrops, fill_crop_folder
from hand_mesh_ros.training.handmim_pretrain_task import (
    HandMIMPretrainOptions,
    HandMIMPretrainTask,
    probe_error,
)
from hand_mesh_ros.training.handmim_views import (
    MaskConfig,
    ViewConfig,
    change_colors,
    cut_views,
    draw_geometry,
    draw_masks,
)
from hand_mesh_ros.training.run_config import default_run_config
from hand_mesh_ros.training.synthetic_dice import Dice
from hand_mesh_ros.training.trainer import train
from hand_mesh_ros.training.unlabelled_hands import UnlabelledConfig
from hand_mesh_ros.types import Detection

HAND = load_open_hand()
CONFIG = HandMIMPretrainConfig(
    backbone="tiny",
    image_size_px=64,
    drop_path=0.0,
    pseudo_keypoints=32,
    head_hidden=32,
    head_bottleneck=16,
    decoder_widths=(16, 12, 8, 8),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def student(**changes):
    torch.manual_seed(0)
    return HandMIMPretrain(replace(CONFIG, **changes), HAND)


def geometry(n=3, seed=0):
    return draw_geometry(ViewConfig(rotation_deg=180.0), Dice(seed, n, torch.device("cpu")))


def views(n=2, seed=0):
    rng = np.random.default_rng(seed)
    images = torch.rand(n, 3, 64, 64, generator=generator(seed))
    made = []
    for k in range(2):
        view = geometry(n, seed + 10 + k)
        mask = torch.from_numpy(draw_masks(n, 4, MaskConfig(), rng))
        made.append(MaskedView(cut_views(images, view, 64), mask, view))
    return tuple(made)


# Algorithm 3.


def test_alignment_undoes_the_view_of_every_keypoint():
    view = geometry()
    points = 2.0 * torch.rand(3, 4096, 2, generator=generator()) - 1.0
    seen = points_in_view(points, view)
    assert (seen - points).abs().mean() > 0.3
    torch.testing.assert_close(points_in_image(seen, view), points, atol=1e-5, rtol=0.0)
    logits = aligned_logits(seen.flatten(1), view)
    torch.testing.assert_close(logits, points.flatten(1), atol=1e-5, rtol=0.0)
    other = geometry(seed=1)
    again = aligned_logits(points_in_view(points, other).flatten(1), other)
    torch.testing.assert_close(again, logits, atol=1e-5, rtol=0.0)


def test_a_misread_direction_of_rotation_is_noticed():
    view = geometry()
    misread = view._replace(R_view_image=view.R_view_image.transpose(1, 2))
    points = 2.0 * torch.rand(3, 50, 2, generator=generator()) - 1.0
    error = points_in_image(points_in_view(points, view), misread) - points
    assert error.norm(dim=2).mean(1).max() > 1.0
    assert error.norm(dim=2).mean(1).min() > 0.02  # hardly turned


def test_a_quarter_turn_by_hand():
    """Right becomes down (y points down), then the lower right quarter is cut out."""
    R = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    view = ViewGeometry(R, torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]))
    points = torch.tensor([[[1.0, 0.0], [0.5, -0.5], [1.0, -1.0]]])
    expected = torch.tensor([[[-1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]])
    torch.testing.assert_close(points_in_view(points, view), expected)


def test_views_show_points_where_their_geometry_says():
    size = 128
    view = geometry(8, seed=4)
    place = 0.5 * (2.0 * torch.rand(8, 2, generator=generator(2)) - 1.0)
    px = (place + 1.0) * size / 2 - 0.5
    at = torch.arange(size)
    dots = torch.exp(-0.1 * (at - px[:, :1]) ** 2)[:, None] * torch.exp(
        -0.1 * (at - px[:, 1:]) ** 2
    ).unsqueeze(2)
    shown = cut_views(dots[:, None].expand(-1, 3, -1, -1), view, size)[:, 0]
    expected = points_in_view(place[:, None], view)[:, 0]
    inside = expected.abs().amax(1) < 0.85
    assert inside.sum() >= 3
    centres = (at + 0.5) * 2 / size - 1.0
    mass = shown.sum((1, 2))
    found = torch.stack(
        [(shown.sum(1) * centres).sum(1) / mass, (shown.sum(2) * centres).sum(1) / mass], 1
    )
    torch.testing.assert_close(found[inside], expected[inside], atol=0.01, rtol=0.0)


def test_drawn_crops_stay_inside_and_have_the_areas_asked_for():
    view = draw_geometry(ViewConfig(crop_area=(0.2, 0.6)), Dice(0, 400, torch.device("cpu")))
    area = view.scale**2
    assert area.min() >= 0.2
    assert area.max() <= 0.6
    assert area.mean().item() == pytest.approx(0.4, abs=0.02)
    assert (view.centre.abs() + view.scale[:, None]).max() <= 1.0 + 1e-6
    angle = torch.atan2(view.R_view_image[:, 1, 0], view.R_view_image[:, 0, 0])
    assert angle.abs().max() <= math.radians(45.0) + 1e-6
    assert angle.abs().mean().item() == pytest.approx(math.radians(22.5), abs=0.05)


# Colours and masks.


def test_colours_change_by_view_and_stay_in_range():
    images = torch.rand(64, 3, 32, 32, generator=generator())
    first = change_colors(images, ViewConfig(), Dice(0, 64, torch.device("cpu")), second=False)
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    assert (first - images).abs().mean() > 0.02
    grey = first.std(1).amax((1, 2)) < 1e-5
    assert 4 <= grey.sum() <= 24
    off = ViewConfig(jitter_share=0.0, grey_share=0.0, blur_share_second=0.0, solarise_share=0.0)
    same = change_colors(images, off, Dice(0, 64, torch.device("cpu")), second=True)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0.0)
    turned = change_colors(
        images, replace(off, solarise_share=1.0), Dice(0, 64, torch.device("cpu")), second=True
    )
    torch.testing.assert_close(turned, torch.minimum(images, 1.0 - images), atol=1e-5, rtol=0.0)


def test_masks_have_the_share_asked_for_in_blocks():
    config = MaskConfig(share=(0.3, 0.3))
    masks = draw_masks(200, 14, config, np.random.default_rng(0))
    assert masks.shape == (200, 196)
    assert set(masks.sum(1)) == {round(0.3 * 196)}
    # Of a hidden patch's neighbours, most are hidden too; scattered ones would have 0.3 of them.
    maps = masks.reshape(-1, 14, 14)
    beside = (maps[:, :, 1:] & maps[:, :, :-1]).sum() / maps[:, :, :-1].sum()
    assert beside > 0.7
    assert maps.any(0).all()  # each patch now and then
    varied = draw_masks(500, 14, MaskConfig(share=(0.1, 0.5)), np.random.default_rng(1)).mean(1)
    assert varied.min() == pytest.approx(0.1, abs=0.01)
    assert varied.max() == pytest.approx(0.5, abs=0.01)
    assert draw_masks(3, 4, MaskConfig(share=(1.0, 1.0)), np.random.default_rng(2)).all()


# Teacher and centres.


def test_teacher_follows_by_hand():
    layer = torch.nn.Linear(1, 1)
    layer.weight.data[:] = 2.0
    teacher = Teacher(layer)
    expected = 2.0
    for momentum, weight in ((0.9, 7.0), (0.5, -1.0), (1.0, 100.0)):
        layer.weight.data[:] = weight
        teacher.follow(layer, momentum)
        expected = momentum * expected + (1.0 - momentum) * weight
        assert teacher.network.weight.item() == pytest.approx(expected, rel=1e-6)
    assert not teacher.network.weight.requires_grad
    teacher.train()
    assert not teacher.network.training


def test_momentum_rises_along_half_a_cosine():
    options = HandMIMPretrainOptions(teacher_momentum=0.9, teacher_steps=100)
    momenta = [options.momentum(step) for step in (0, 50, 100, 500)]
    assert momenta == pytest.approx([0.9, 0.95, 1.0, 1.0])


def test_centres_are_moving_means_that_even_out_answers():
    center = Center(3, momentum=0.75)
    center.update(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert center.value.tolist() == [0.5, 0.5, 0.5]
    center.update(torch.tensor([[4.0, 0.0, 0.0]]))
    assert center.value.tolist() == [1.375, 0.375, 0.375]
    logits = torch.tensor([[1.375, 0.375, 0.375]])
    even = teacher_probabilities(logits, center.value, 0.04)
    torch.testing.assert_close(even, torch.full((1, 3), 1 / 3))
    assert teacher_probabilities(logits, torch.zeros(3), 0.04)[0, 0] > 0.99


def test_cross_entropy_by_hand():
    answer = torch.tensor([[0.25, 0.75]])
    logits = torch.tensor([[0.1, -0.1]])
    p = math.exp(1.0) / (math.exp(1.0) + math.exp(-1.0))
    expected = -(0.25 * math.log(p) + 0.75 * math.log(1.0 - p))
    assert cross_entropy(answer, logits, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_logits_of_the_head_are_cosines():
    head = DistillationHead(6, 8, 4, 10)
    tokens = torch.randn(5, 6, generator=generator())
    with torch.no_grad():
        logits = head(tokens)
        head.directions.mul_(torch.rand(10, 1, generator=generator(1)) + 0.5)
        torch.testing.assert_close(head(tokens), logits)
    assert logits.abs().max() <= 1.0


# Losses.


def test_pose_loss_is_cross_view_and_aligned():
    """The teacher's keypoints of one view, moved into the other, are the best answer there."""
    network = student(token_loss=False, pixel_loss=False)
    distillation = SelfDistillation(network, Temperatures(0.1, 0.1), center_momentum=1.0)
    pair = views()
    points = torch.randn(2, 32, 2, generator=generator(5))
    answers = {id(v.image): points_in_view(points, v.geometry).flatten(1) for v in pair}

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.next = iter(())

        def forward(self, tokens):
            return next(self.next)

    def loss(given):
        network.head = Fixed()
        network.head.next = iter(given)
        distillation.teacher.network.head = Fixed()
        distillation.teacher.network.head.next = iter([answers[id(v.image)] for v in pair])
        return distillation.losses(network, pair)["pose"].item()

    right = [answers[id(v.image)] for v in pair]
    entropy = mean_entropy(torch.softmax(points.flatten(1) / 0.1, dim=1))
    assert loss(right) == pytest.approx(entropy, abs=1e-4)
    assert loss(right[::-1]) > entropy + 0.1  # not moved into the view
    network.config = replace(network.config, pose_alignment=False)
    distillation.teacher.network.config = network.config
    assert loss(right) > entropy + 0.1  # without alignment, views say different things


def test_token_loss_weighs_images_alike_and_ignores_what_is_seen():
    network = student(pose_loss=False, pixel_loss=False)
    distillation = SelfDistillation(network, Temperatures(), center_momentum=1.0)
    number = torch.tensor([[1, 13], [4, 9]])  # hidden patches of each view and image
    pair = [
        view._replace(mask=torch.arange(16) < number[k][:, None]) for k, view in enumerate(views())
    ]
    by_image, by_patch = [], []
    for view in pair:
        ours = network.tokens(view.image, view.mask)
        theirs = distillation.teacher.network.tokens(view.image)
        for i in range(2):
            m = view.mask[i]
            answer = teacher_probabilities(
                distillation.teacher.network.head(theirs.patches[i][m]), torch.zeros(64), 0.04
            )
            each = cross_entropy(answer, network.head(ours.patches[i][m]), 0.1)
            by_image.append(each.mean())
            by_patch += list(each)
    expected = torch.stack(by_image).mean().item()
    assert abs(torch.stack(by_patch).mean().item() - expected) > 1e-3 * expected
    loss = distillation.losses(network, tuple(pair))["token"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_pixel_loss_counts_hidden_patches_alone():
    truth = torch.zeros(1, 3, 32, 32)
    painted = torch.zeros(1, 3, 32, 32)
    painted[:, :, :16, 16:] = 0.5  # patch 1
    painted[:, :, 16:, :16] = 7.0  # patch 2, seen
    mask = torch.tensor([[True, True, False, False]])
    assert pixel_loss(painted, truth, mask).item() == pytest.approx(0.25)


def test_pixels_come_from_all_the_blocks_at_their_places():
    torch.manual_seed(0)
    decoder = PixelDecoder(8, (8, 8, 8, 8))
    taken = [torch.randn(1, 16, 8, generator=generator(k)) for k in range(4)]
    with torch.no_grad():
        before = decoder(taken, 4, 4)
        assert before.shape == (1, 3, 64, 64)
        for k in range(4):
            changed = [t.clone() for t in taken]
            changed[k][:, 0] += 1.0  # the top left patch
            moved = (decoder(changed, 4, 4) - before).abs().sum((0, 1))
            assert moved[:16, :16].mean() > 0.01 * before.std()
            assert moved[32:, 32:].max() == 0.0


@pytest.mark.parametrize("off", ["pose_loss", "token_loss", "pixel_loss"])
def test_each_loss_can_be_switched_off(off):
    network = student(**{off: False})
    distillation = SelfDistillation(network, Temperatures(), 0.9)
    terms = distillation.losses(network, views())
    assert set(terms) == {"pose", "token", "pixel"} - {off.removesuffix("_loss")}
    sum(terms.values()).backward()
    grads = {name for name, p in network.named_parameters() if p.grad is not None}
    assert any(name.startswith("backbone.blocks.0") for name in grads)
    assert any(name.startswith("decoder") for name in grads) == (off != "pixel_loss")
    assert all(p.grad is None for p in distillation.teacher.parameters())
    moved = {
        "pose": distillation.cls_center.value.abs().sum() > 0,
        "token": distillation.patch_center.value.abs().sum() > 0,
    }
    assert moved == {name: f"{name}_loss" != off for name in moved}


def test_teacher_has_neither_decoder_nor_mask_token():
    distillation = SelfDistillation(student(), Temperatures(), 0.9)
    names = {name.split(".")[0] for name, _ in distillation.teacher.network.named_parameters()}
    assert names == {"backbone", "head"}
    assert distillation.teacher.network.backbone.mask_token is None


def test_collapse_shows_in_the_figures():
    healthy = torch.randn(200, 64, generator=generator())
    assert feature_spread(healthy) == pytest.approx(1.0, abs=0.05)
    collapsed = torch.ones(200, 64) + 1e-3 * healthy
    assert feature_spread(collapsed) < 0.01
    assert mean_entropy(torch.full((4, 32), 1 / 32)) == pytest.approx(math.log(32), rel=1e-5)
    assert mean_entropy(torch.eye(32)) == pytest.approx(0.0, abs=1e-5)


def test_the_probe_reads_what_is_linear_and_nothing_else():
    features = torch.randn(400, 8, generator=generator())
    keypoints = 10.0 * features @ torch.randn(8, 42, generator=generator(1)) + 50.0
    assert probe_error(features, keypoints) < 3.0
    noise = torch.randn(400, 8, generator=generator(2))
    assert probe_error(noise, keypoints) > 20.0


# The task.


def run_config(*changes):
    return default_run_config("handmim_pretrain").assigned(
        [
            *("network.backbone=tiny", "network.image_size_px=64", "network.drop_path=0"),
            *("network.pseudo_keypoints=64", "network.head_hidden=64"),
            *("network.head_bottleneck=32", "network.decoder_widths=[16,12,8,8]"),
            *("task.data.engine.bank_size=64", "task.validation_hands=32"),
            *("trainer.batch_size=4", "trainer.steps=2", "trainer.val_every_steps=2"),
            *("trainer.threads=1", "trainer.accelerator=cpu", "trainer.warmup_steps=0"),
            *changes,
        ]
    )


def test_a_run_trains_and_its_transformer_starts_the_mesh_network(tmp_path):
    from hand_mesh_ros.networks.checkpoint import load_network
    from hand_mesh_ros.networks.handmim import HandMIM, HandMIMConfig
    from hand_mesh_ros.networks.vit_weights import load_vit_file

    result = train(run_config(), tmp_path / "run")
    names = ["probe_error_px", "pixel_error", "feature_spread"]
    assert list(result.figures) == [*names, "teacher_entropy_nats", "mixed_entropy_nats"]
    assert all(math.isfinite(value) for value in result.figures.values())
    assert result.figures["teacher_entropy_nats"] <= math.log(128) + 1e-4
    last = tmp_path / "run/last.safetensors"
    trained = load_network(last, HAND).network
    torch.manual_seed(5)
    mesh = HandMIM(HandMIMConfig(backbone="tiny", image_size_px=64, pyramid_width=8), HAND)
    assert not torch.equal(mesh.backbone.cls_token, trained.backbone.cls_token)
    load_vit_file(mesh.backbone, last)
    own, theirs = mesh.backbone.state_dict(), trained.backbone.state_dict()
    assert set(theirs) - set(own) == {"mask_token"}
    for name, tensor in own.items():
        assert torch.equal(tensor, theirs[name]), name


def task(batch_size=8, options=None, **network):
    options = options or HandMIMPretrainOptions(
        data=UnlabelledConfig(engine=replace(UnlabelledConfig().engine, bank_size=64)),
        validation_hands=32,
    )
    return HandMIMPretrainTask(student(**network), options, model=HAND, batch_size=batch_size)


def train_batches(of, start_step=0):
    return of.batches(BatchStream("train", torch.device("cpu"), start_step=start_step))


def test_batches_depend_on_the_step_alone():
    made = task(2)
    first = train_batches(made)
    next(first)
    second, again = next(first), next(train_batches(made, start_step=1))
    assert second.keys() == again.keys()
    for name, values in second.items():
        assert torch.equal(values, again[name]), name
    assert second["views"].shape == (2, 2, 3, 64, 64)
    assert second["masks"].shape == (2, 2, 16)
    assert not torch.equal(second["views"][:, 0], second["views"][:, 1])


def test_a_few_steps_bring_the_losses_down():
    """On one pair of views: the student comes to agree with its teacher, and paints pixels."""
    made = task(4)
    batch = next(train_batches(made))
    optimizer = torch.optim.AdamW(made.network.parameters(), lr=1e-3)
    values = []
    for _ in range(16):
        terms = made.losses(batch, step=0)
        values.append({name: term.item() for name, term in terms.items()})
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        made.after_step(0)
    assert values[-1]["pixel"] < 0.93 * values[0]["pixel"]
    assert values[-1]["token"] < values[0]["token"] - 1.0


def test_the_preview_shows_images_and_both_views():
    sheet = task().preview(3)
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[64:] == 128).all(2).mean() > 0.1  # hidden patches


# Crops from files.


class OneHand:
    """Finds one hand in the middle of every image."""

    def __init__(self, side):
        self._side = side

    def detect(self, image_rgb, stamp_ns):
        height, width = image_rgb.shape[:2]
        angle = np.linspace(0.0, 2.0 * np.pi, 21)
        points = np.stack([width / 2 + 40 * np.sin(angle), height / 2 + 40 * np.cos(angle)], 1)
        box = np.concatenate([points.min(0), points.max(0)])
        return [Detection(self._side, 0.9, 0.9, points, None, box)]

    def reset(self):
        pass

    def close(self):
        pass


@pytest.fixture
def photo(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = np.full((240, 320, 3), 30, np.uint8)
    image[:, 160:] = 220
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), image)
    return folder


def test_crops_are_cut_once_and_left_hands_mirrored(photo, tmp_path):
    crops = {}
    for side in Side:
        folder = tmp_path / side.name
        assert fill_crop_folder(folder, [str(photo)], OneHand(side), size_px=48) == 2
        crops[side] = HandCrops(folder, 48).images([1, 0])
        assert crops[side].shape == (2, 3, 48, 48)
    left, right = crops[Side.LEFT][0], crops[Side.RIGHT][0]
    assert (left - right).abs().mean() > 0.3
    torch.testing.assert_close(left.flip(2), right, atol=0.06, rtol=0.0)
    assert (
        fill_crop_folder(tmp_path / "c", [str(photo)], OneHand(Side.LEFT), size_px=48, every=2) == 1
    )


def test_a_folder_of_crops_trains(photo):
    options = HandMIMPretrainOptions(data=UnlabelledConfig(crops_dir=str(photo)))
    batch = next(train_batches(task(options=options)))
    assert batch["views"].shape == (8, 2, 3, 64, 64)


def test_folders_without_hands_are_one_clear_line(tmp_path, photo):
    class NoHand(OneHand):
        def detect(self, image_rgb, stamp_ns):
            return []

    with pytest.raises(DatasetError, match=r"no hand was found in .*photos; nothing to train on"):
        fill_crop_folder(tmp_path / "out", [str(photo)], NoHand(Side.LEFT), size_px=48)
    with pytest.raises(DatasetError, match=r"no such image, folder or video: .*missing"):
        fill_crop_folder(
            tmp_path / "out", [str(tmp_path / "missing")], NoHand(Side.LEFT), size_px=48
        )
    with pytest.raises(DatasetError, match="no such folder of crops"):
        HandCrops(tmp_path / "missing", 48)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images in the folder"):
        HandCrops(tmp_path / "empty", 48)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "huge"}, "backbone must be one of .*got 'huge'"),
        ({"image_size_px": 100}, "image_size_px must be a multiple of 16 from 32 on, got 100"),
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), got 1.0"),
        ({"pseudo_keypoints": 0}, "pseudo_keypoints must be at least 1, got 0"),
        ({"decoder_blocks": (3, 6, 9, 13)}, "decoder_blocks must be 4 rising numbers from 1 to 12"),
        ({"decoder_blocks": (3, 6, 12)}, "decoder_blocks must be 4 rising numbers"),
        ({"decoder_widths": (8, 8, 8, 0)}, "decoder_widths must be 4 numbers from 1 on"),
        (
            {"pose_loss": False, "token_loss": False, "pixel_loss": False},
            "are all false; nothing to learn",
        ),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViewConfig(crop_area=(0.8, 0.2)), "crop_area is .*expected 0 < low <= high <= 1"),
        (lambda: ViewConfig(rotation_deg=200.0), "rotation_deg is 200.0, expected 0 to 180"),
        (lambda: MaskConfig(share=(0.0, 0.5)), "share is .*expected 0 < low <= high <= 1"),
        (lambda: Temperatures(teacher=0.0), "teacher must be above 0, got 0.0"),
        (lambda: UnlabelledConfig(crops_from=("a",)), "crops_from is given without crops_dir"),
        (lambda: UnlabelledConfig(every=0), "every is 0, expected 1 or more"),
        (lambda: HandMIMPretrainOptions(teacher_momentum=1.5), "teacher_momentum is 1.5"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
