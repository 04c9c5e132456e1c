"""Takes the fastest back-end that is there and computes the right thing, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hand_mesh_ros.backends.base import (
    AUTO,
    BackEnd,
    BackEndError,
    EngineSpec,
    Precision,
    first_line,
)
from hand_mesh_ros.backends.engine_cache import EngineCodec
from hand_mesh_ros.backends.kinds import FASTEST_FIRST, KINDS, BackEndKind, EngineRequest
from hand_mesh_ros.backends.parity import UNJUDGED, Parity, ParityReference, check_parity
from hand_mesh_ros.backends.parity_inputs import parity_reference
from hand_mesh_ros.backends.progress import Log

LAST_RESORT = "torch"
"""Eager: needs nothing, and computes what the others are compared with."""


@dataclass(frozen=True, eq=False)
class ChosenBackEnd:
    """The back-end that was taken, and what became of the others."""

    backend: BackEnd
    parity: Parity
    refused: tuple[str, ...]
    """One reason for each that was not taken, best first: "tensorrt fp16: ..."."""

    @property
    def state(self) -> str:
        """One line for diagnostics."""
        taken = f"{self.backend.name} {self.backend.spec.precision}: {self.parity}"
        return "; ".join((taken, *self.refused))


def choose_backend(
    wanted: str,
    request: EngineRequest,
    *,
    log: Log = print,
    kinds: Mapping[str, BackEndKind] = KINDS,
) -> ChosenBackEnd:
    """Build, check and take a back-end.

    Args:
        wanted: a name in `kinds`, or "auto". What fails gives way to the next: for "auto" in the
            order of speed, at the wanted precision and then in fp32; for a name to eager fp32.
        request: the network and what is wanted of it.
        log: gets a line about each that is refused, and about the one that is taken.
        kinds: the back-ends there are, by name.

    Raises:
        BackEndError: unknown name, or none can be used.
    """
    if wanted != AUTO and wanted not in kinds:
        raise BackEndError(
            f"back-end {wanted!r} is unknown, expected one of: {', '.join((AUTO, *kinds))}"
        )
    reference = stored_reference(request)
    refused: dict[str, str] = {}
    for name, precision in _candidates(wanted, request):
        missing = kinds[name].missing(request.device)
        if missing is not None:
            refused[name] = missing
            continue
        spec: EngineSpec = replace(request.spec, precision=precision)
        try:
            backend = build_backend(name, replace(request, spec=spec), kinds=kinds)
            parity = judged_parity(name, backend, reference)
        except BackEndError as error:
            refused[f"{name} {precision}"] = str(error)
            log(f"back-end {name} {precision} is not used: {error}")
            continue
        if wanted == AUTO:
            refused |= _untried({name, *(key.split()[0] for key in refused)}, request, kinds)
        chosen = ChosenBackEnd(backend, parity, tuple(f"{k}: {why}" for k, why in refused.items()))
        log(f"back-end of {request.source.name}: {chosen.state}")
        return chosen
    reasons = "; ".join(f"{k}: {why}" for k, why in refused.items())
    raise BackEndError(f"no back-end can run {request.source.name}: {reasons}")


def build_backend(
    name: str, request: EngineRequest, *, kinds: Mapping[str, BackEndKind] = KINDS
) -> BackEnd:
    """That back-end and no other, unchecked.

    Raises:
        BackEndError: it is unknown, missing, or cannot be built.
    """
    if name not in kinds:
        raise BackEndError(f"back-end {name!r} is unknown, expected one of: {', '.join(kinds)}")
    missing = kinds[name].missing(request.device)
    if missing is not None:
        raise BackEndError(missing)
    try:
        return kinds[name].build(request)
    except BackEndError:
        raise
    except Exception as error:  # compilers and runtimes raise what they like
        raise BackEndError(
            f"cannot be built ({type(error).__name__}: {first_line(error)})"
        ) from error


def judged_parity(name: str, backend: BackEnd, reference: ParityReference) -> Parity:
    """How far a back-end is from eager fp32.

    Eager fp32 itself is what the others are measured by: its rounding is reported, not judged.

    Raises:
        BackEndError: too far.
    """
    itself = (name, backend.spec.precision) == (LAST_RESORT, "fp32")
    parity = check_parity(backend, reference, UNJUDGED if itself else None)
    if parity.fault is not None:
        raise BackEndError(f"refused, {parity.fault}")
    return parity


def stored_reference(request: EngineRequest) -> ParityReference:
    """Inputs and eager answers, from the cache if they are there; one for all precisions."""
    plain = replace(request, spec=replace(request.spec, precision="fp32", min_batch=1, max_batch=1))
    codec = EngineCodec(
        build=lambda: parity_reference(plain.source.network, plain.spec),
        save=ParityReference.save,
        load=ParityReference.load,
    )
    try:
        return request.cache.get(plain.key("parity", on_device=False), codec)
    except ValueError as error:
        raise BackEndError(f"{request.source.name}: {error}") from error


def _candidates(wanted: str, request: EngineRequest) -> list[tuple[str, Precision]]:
    precisions: tuple[Precision, ...] = (request.spec.precision, "fp32")
    pairs: list[tuple[str, Precision]]
    if wanted == AUTO:
        pairs = [(n, p) for p in precisions for n in FASTEST_FIRST[request.device.type]]
    else:
        pairs = [*((wanted, p) for p in precisions), (LAST_RESORT, "fp32")]
    return list(dict.fromkeys(pairs))


def _untried(
    tried: set[str], request: EngineRequest, kinds: Mapping[str, BackEndKind]
) -> dict[str, str]:
    """Why the others were not even tried."""
    reasons = {}
    for name in kinds:
        if name not in tried:
            listed = name in FASTEST_FIRST[request.device.type]
            reasons[name] = kinds[name].missing(request.device) or (
                "expected to be slower" if listed else "not tried unless asked for by name"
            )
    return reasons
