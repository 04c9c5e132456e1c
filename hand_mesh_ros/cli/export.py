"""`hand-mesh export`: a network as ONNX, as a TensorRT engine, or as a command for a Jetson."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import write_report
from hand_mesh_ros.cli.train import INSTALL

if TYPE_CHECKING:
    from hand_mesh_ros.backends.base import BackEnd
    from hand_mesh_ros.backends.kinds import EngineRequest
    from hand_mesh_ros.backends.parity import Parity

FORMATS = {"onnx": ".onnx", "tensorrt": ".engine", "trtexec": ".onnx"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("name", metavar="NAME_OR_CHECKPOINT", help="weights by name, or a file")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="onnx",
        help="onnx (default); tensorrt: an engine for this GPU; trtexec: ONNX, and the command "
        "that makes an engine of it on another machine, such as a Jetson",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="(default: NAME.onnx ...)"
    )
    parser.add_argument("--precision", default="fp32", help="fp32 (default), fp16 or bf16")
    parser.add_argument(
        "--batch", default="1:4", metavar="MIN:MAX", help="hands at a time (default: 1:4)"
    )
    parser.add_argument("--mano-dir", type=Path, metavar="DIR", help="for weights of MANO's hand")
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what was made and how exact it is"
    )


def run(args: argparse.Namespace) -> int:
    """Write the file if it computes what the network computes; 1 if it does not."""
    low, high = _range(args.batch)
    try:
        from hand_mesh_ros.backends.base import PRECISIONS, BackEndError
        from hand_mesh_ros.backends.engine_cache import EngineCache
        from hand_mesh_ros.backends.kinds import EngineRequest
        from hand_mesh_ros.backends.named_network import named_network
        from hand_mesh_ros.backends.open import torch_device
        from hand_mesh_ros.backends.typed_network import network_spec
        from hand_mesh_ros.networks.checkpoint_file import CheckpointError, replaced_file
    except ModuleNotFoundError as error:
        raise UsageError(f"exporting needs {error.name}: {INSTALL}") from error
    if args.precision not in PRECISIONS:
        raise UsageError(f"--precision {args.precision}: expected one of {', '.join(PRECISIONS)}")
    try:
        network = named_network(args.name, _hand_model(args.mano_dir))
        device = torch_device("cuda" if args.format == "tensorrt" else "cpu")
    except (CheckpointError, BackEndError) as error:
        raise UsageError(str(error)) from error
    output = args.output or Path(f"{Path(args.name).stem}{FORMATS[args.format]}")
    for path in (output, *([args.report] if args.report else [])):
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{path}: no such folder")
    if not network.trained:
        print(f"{args.name}: no checkpoint, its weights are random", file=sys.stderr)
    spec = network_spec(
        network.source.network, precision=args.precision, min_batch=low, max_batch=high
    )
    cache = EngineCache(log=lambda text: print(text, file=sys.stderr))
    request = EngineRequest(network.source, spec, device, cache)
    try:
        make = _tensorrt_file if args.format == "tensorrt" else _onnx_file
        data, backend, parity = make(request, network.about)
        print(_parity_text(backend, parity))
        if parity.fault is not None:
            raise BackEndError(f"nothing is written: {parity.fault}")
        with replaced_file(output) as temporary:
            temporary.write_bytes(data)
    except (BackEndError, CheckpointError) as error:
        print(f"hand-mesh export: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {len(data) / 1e6:.1f} MB, {args.precision}, batch {low} to {high}")
    report: dict[str, Any] = {
        "model": args.name,
        "network": network.source.name,
        "weights": "checkpoint" if network.trained else "random",
        "format": args.format,
        "precision": args.precision,
        "batch": [low, high],
        "file": str(output),
        "file_mb": round(len(data) / 1e6, 3),
        "checked_by": backend.name,
        "parity": parity.as_json(),
    }
    if args.format == "trtexec":
        from hand_mesh_ros.export.trtexec import trtexec_command

        report["command"] = trtexec_command(output, output.with_suffix(".engine"), spec)
        print(report["command"])
    write_report(args.report, report)
    return 0


def _onnx_file(request: EngineRequest, about: dict[str, Any]) -> tuple[bytes, BackEnd, Parity]:
    from hand_mesh_ros.backends.choose import stored_reference
    from hand_mesh_ros.backends.kinds import KINDS
    from hand_mesh_ros.backends.onnx_backend import OnnxBackEnd, cpu_providers
    from hand_mesh_ros.backends.parity import check_parity
    from hand_mesh_ros.backends.progress import told_progress
    from hand_mesh_ros.export.onnx_export import to_onnx

    _require(KINDS["onnx"].missing(request.device))
    with told_progress("exporting to ONNX", lambda text: print(text, file=sys.stderr)):
        model = to_onnx(request.source.network, request.spec, about=about)
    backend = OnnxBackEnd(model, request.spec, cpu_providers())
    return model, backend, check_parity(backend, stored_reference(request))


def _tensorrt_file(request: EngineRequest, about: dict[str, Any]) -> tuple[bytes, BackEnd, Parity]:
    from hand_mesh_ros.backends.choose import stored_reference
    from hand_mesh_ros.backends.kinds import KINDS, tensorrt_engine
    from hand_mesh_ros.backends.parity import check_parity
    from hand_mesh_ros.backends.tensorrt_backend import tensorrt_backend

    _require(KINDS["tensorrt"].missing(request.device))
    engine = tensorrt_engine(request)
    backend = tensorrt_backend(engine, request.spec, request.device)
    return engine, backend, check_parity(backend, stored_reference(request))


def _require(missing: str | None) -> None:
    if missing is not None:
        raise UsageError(missing)


def _hand_model(mano_dir: Path | None) -> Any:
    if mano_dir is None:
        from hand_mesh_ros.hand_models.open_hand import load_open_hand

        return load_open_hand()
    from hand_mesh_ros.hand_models.mano import load_mano

    try:
        return load_mano(mano_dir)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"--mano-dir {mano_dir}: {error}") from error


def _range(text: str) -> tuple[int, int]:
    """(1, 4) of "1:4"; one number is both."""
    words = text.split(":")
    try:
        low, high = int(words[0]), int(words[-1])
    except ValueError as error:
        raise UsageError(f"--batch {text}: expected MIN:MAX such as 1:4") from error
    if len(words) > 2 or not 1 <= low <= high:
        raise UsageError(f"--batch {text}: expected MIN:MAX with 1 <= MIN <= MAX")
    return low, high


def _parity_text(backend: BackEnd, parity: Parity) -> str:
    lines = [f"against eager fp32, by {backend.name}:"]
    for o in parity.outputs:
        unit = o.unit or "of 1"
        lines.append(
            f"    {o.name:<24}max {o.max_difference:.2e} {unit}  mean {o.mean_difference:.2e}"
            + (f"  {o.fault}" if o.fault else "")
        )
    return "\n".join(lines)
