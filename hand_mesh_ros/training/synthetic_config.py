"""What the synthetic images show, and how often and how strongly; 0 switches an effect off."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

_SHARES = (
    *("sleeve", "wristband", "held_object", "passing_object", "second_hand", "textured_background"),
    *("jpeg", "truncation", "motion_blur", "tight_image", "clutter", "hand_colored_background"),
    *("rings", "watch", "pinched_object"),
)
_STRENGTHS = (
    *("skin_texture", "shadow", "ambient_occlusion", "specular", "subsurface", "lamp_variety"),
    *("ground_shadow", "low_resolution", "color_jitter", "harsh_light"),
    *("nails", "creases", "blush", "veins", "hair"),
    *("vignetting", "tone_curve", "chroma_noise", "sharpening"),
)


@dataclass(frozen=True)
class SyntheticConfig:
    """Shares are of images that have an effect, 0 to 1; strengths are factors, 1 is lifelike."""

    size_px: int = 128
    """Side of the square crops."""
    bank_size: int = 20_000
    """Poses drawn once; each is seen from a new side every time."""
    bank_seed: int = 0
    chunk: int = 64
    """Images at a time (more on a GPU); the images of a seed depend on it."""
    supersampling: int = 1
    """Points a pixel and axis at which hands are seen; 2 has smoother edges at 3 times the cost."""
    skin_detail: int = 2
    """How often edges are halved for the skin's texture; 2 is 2 mm."""

    # The crop, as a detector would cut it.
    box_scale: tuple[float, float] = (1.4, 2.0)
    """Side of the box over the larger side of the keypoints' own."""
    box_shift: float = 0.08
    """Largest shift of the box, of its side."""
    box_rotation_deg: float = 20.0
    """Largest turn from upright; more where the palm looks short and tells less."""
    truncation: float = 0.15
    """Share of hands that the camera's image cuts off."""
    tight_image: float = 0.25
    """Share of images that end close around the hand, as photographs that were cut to it."""

    # What is in the picture.
    skin_texture: float = 1.0
    """Of all that is on the skin, also of the five below."""
    nails: float = 1.0
    creases: float = 1.0
    """Of palm and joints, and wrinkles over knuckles."""
    blush: float = 1.0
    """Redder fingertips, knuckles and heels of hands."""
    veins: float = 1.0
    """And tendons, on the back of the hand."""
    hair: float = 1.0
    """On few arms and backs of hands."""
    rings: float = 0.15
    watch: float = 0.1
    sleeve: float = 0.45
    wristband: float = 0.12
    held_object: float = 0.2
    pinched_object: float = 0.12
    """Share of hands with a pen, ball, card or cup between thumb and finger, and nothing else."""
    passing_object: float = 0.2
    second_hand: float = 0.2
    textured_background: float = 0.97
    clutter: float = 0.6
    """Share of the painted backgrounds with many sharp-edged things: shelves, desks, leaves."""
    hand_colored_background: float = 0.3
    """Share of backgrounds whose mean colour is brought near the hand's."""
    background_folder: Path | None = None
    """Images to put behind hands, in place of half of the painted backgrounds."""

    # Light.
    lamp_variety: float = 1.0
    """0: one white lamp at the camera."""
    harsh_light: float = 1.0
    """More of the light from the lamp, and of another colour than the light around."""
    shadow: float = 1.0
    ambient_occlusion: float = 1.0
    specular: float = 1.0
    subsurface: float = 1.0
    ground_shadow: float = 1.0

    # The camera.
    defocus_px: float = 0.8
    """Largest blur of the lens (standard deviation) at 128 px; it grows with the crop."""
    motion_blur: float = 0.2
    motion_blur_px: float = 7.0
    """Longest path at 128 px."""
    low_resolution: float = 1.0
    """Blur of crops that are enlarged; 1: as their camera's resolution makes them."""
    noise: float = 0.035
    """Largest standard deviation of the sensor's noise, of white."""
    jpeg: float = 0.5
    color_jitter: float = 1.0
    vignetting: float = 1.0
    tone_curve: float = 1.0
    """Contrast of the middle tones, overexposure and stray light."""
    chroma_noise: float = 1.0
    sharpening: float = 1.0

    def __post_init__(self) -> None:
        for name in ("size_px", "bank_size", "chunk"):
            value = getattr(self, name)
            if value < (32 if name == "size_px" else 1):
                raise ValueError(f"{name} is {value}; expected {32 if name == 'size_px' else 1}+")
        if self.size_px % 8:
            raise ValueError(f"size_px is {self.size_px}; expected a multiple of 8 (JPEG's blocks)")
        if self.skin_detail not in (0, 1, 2, 3):
            raise ValueError(f"skin_detail is {self.skin_detail}; expected 0, 1, 2 or 3")
        if self.supersampling not in (1, 2, 3, 4):
            raise ValueError(f"supersampling is {self.supersampling}; expected 1, 2, 3 or 4")
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share, 0 to 1")
        for name in _STRENGTHS:
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a strength, 0 to 2")
        for name, most in (
            *(("box_shift", 0.5), ("box_rotation_deg", 180.0), ("defocus_px", 4.0)),
            *(("motion_blur_px", 20.0), ("noise", 0.5)),
        ):
            if not 0.0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to {most:g}")
        low, high = self.box_scale
        if not 1.0 <= low <= high <= 4.0:
            raise ValueError(f"box_scale is {self.box_scale}; expected 1 <= lowest <= highest <= 4")

    def plain(self) -> SyntheticConfig:
        """The same crops without any effect: matt hands before grey, one lamp at the camera."""
        off = {name: 0.0 for name in (*_SHARES, *_STRENGTHS, "defocus_px", "noise")}
        known = {f.name for f in fields(self)}
        return replace(self, background_folder=None, **{k: v for k, v in off.items() if k in known})
