"""Networks, timed on every back-end, side by side."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hand_mesh_ros.cli.bench import PERCENTS, batches, words
from hand_mesh_ros.cli.bench_published import published_text
from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.train import INSTALL

if TYPE_CHECKING:
    from hand_mesh_ros.backends.benchmark import BuiltEngine
    from hand_mesh_ros.backends.named_network import NamedNetwork

_COLUMNS = {
    "model": "Model",
    "backend": "Back-end",
    "precision": "",
    "batch": "Batch",
    "ms_p50": "ms p50",
    "ms_p90": "p90",
    "ms_p99": "p99",
    "fps": "hands/s",
    "speed_up": "x torch",
    "build_s": "build s",
    "load_s": "load s",
    "first_call_ms": "first call ms",
    "memory_mb": "MB",
    "params_m": "M params",
    "gmacs": "GMACs",
    "parity": "parity",
}


def models_report(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Build every combination that was asked for, measure, and put published speeds beside it."""
    sizes = batches(args.batch)
    try:
        from hand_mesh_ros.backends.base import PRECISIONS, BackEndError
        from hand_mesh_ros.backends.named_network import named_network
        from hand_mesh_ros.backends.open import torch_device
        from hand_mesh_ros.networks.checkpoint_file import CheckpointError
    except ModuleNotFoundError as error:
        raise UsageError(f"--models needs {error.name}: {INSTALL}") from error
    from hand_mesh_ros.hand_models.open_hand import load_open_hand

    for precision in words(args.precision):
        if precision not in PRECISIONS:
            raise UsageError(f"--precision {precision}: expected some of {', '.join(PRECISIONS)}")
    try:
        device = torch_device(args.device)
        model = load_open_hand()
        networks = {name: named_network(name, model) for name in words(args.models)}
    except (BackEndError, CheckpointError) as error:
        raise UsageError(str(error)) from error
    results, refused = [], []
    with tempfile.TemporaryDirectory(prefix="hand_mesh_bench_") as temporary:
        folder = args.cache_dir or Path(temporary)
        for name, network in networks.items():
            engines, failed = _engines(args, name, network, sizes, device, folder)
            refused += failed
            results += _measured(args, name, network, engines, sizes)
    report = {
        "device": _device_name(device),
        "threads": _threads(args.threads),
        "results": results,
        "refused": refused,
    }
    return report, _text(report)


def _engines(
    args: argparse.Namespace,
    name: str,
    network: NamedNetwork,
    sizes: list[int],
    device: Any,
    folder: Path,
) -> tuple[dict[tuple[str, str], BuiltEngine], list[dict[str, Any]]]:
    """Built engines by back-end and precision, and what could not be built."""
    from hand_mesh_ros.backends.base import BackEndError
    from hand_mesh_ros.backends.benchmark import built_engine
    from hand_mesh_ros.backends.engine_cache import EngineCache
    from hand_mesh_ros.backends.kinds import FASTEST_FIRST, EngineRequest
    from hand_mesh_ros.backends.typed_network import network_spec

    asked = words(args.backends) if args.backends else FASTEST_FIRST[device.type]
    engines, refused = {}, []
    cache = EngineCache(folder, log=_say)
    for precision in words(args.precision):
        spec = network_spec(
            network.source.network,
            precision=precision,  # type: ignore[arg-type]  # checked above
            min_batch=sizes[0],
            max_batch=sizes[-1],
        )
        request = EngineRequest(network.source, spec, device, cache, args.threads)
        for backend in asked:
            try:
                engines[backend, precision] = built_engine(backend, request)
            except BackEndError as error:
                _say(f"{name} {backend} {precision}: {error}")
                why = {"backend": backend, "precision": precision, "error": str(error)}
                refused.append({"model": name, **why})
    # What was not asked for by name may be absent.
    return engines, refused if args.backends else []


def _measured(
    args: argparse.Namespace,
    name: str,
    network: NamedNetwork,
    engines: dict[tuple[str, str], BuiltEngine],
    sizes: list[int],
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    from hand_mesh_ros.backends.benchmark import ROUNDS, measure
    from hand_mesh_ros.backends.typed_network import example_inputs
    from hand_mesh_ros.networks.layers.cost import network_cost

    cost = network_cost(network.source.network, example_inputs(network.source.network, 1))
    with tqdm(total=len(engines) * len(sizes) * ROUNDS, desc=name, leave=False) as bar:
        measure(list(engines.values()), sizes, runs=args.runs, tick=bar.update)
    results = []
    for (backend, precision), engine in engines.items():
        for batch in sizes:
            times_ms = engine.times_ms[batch]
            entry: dict[str, Any] = {
                "model": name,
                "network": network.source.name,
                "weights": "checkpoint" if network.trained else "random",
                "backend": backend,
                "runs_on": engine.backend.name,
                "precision": precision,
                "batch": batch,
                "runs": len(times_ms),
            }
            entry |= {f"ms_p{n}": round(float(np.percentile(times_ms, n)), 4) for n in PERCENTS}
            entry["fps"] = round(1e3 * batch / float(np.median(times_ms)), 2)
            baseline = engines.get(("torch", "fp32"))
            if baseline is not None:
                ratio = float(np.median(baseline.times_ms[batch]) / np.median(times_ms))
                entry["speed_up"] = round(ratio, 3)
            memory_mb = engine.memory_mb
            results.append(
                entry
                | {
                    "build_s": round(engine.build_s, 3),
                    "load_s": round(engine.load_s, 3),
                    "first_call_ms": round(engine.first_call_ms, 3),
                    "memory_mb": None if memory_mb is None else round(memory_mb, 1),
                    "params_m": round(cost.params_m, 3),
                    "gmacs": round(cost.gmacs, 4),
                    "parity": engine.parity.as_json(),
                    "parity_text": str(engine.parity),
                }
            )
    return results


def _text(report: dict[str, Any]) -> str:
    results = report["results"]
    lines = [f"{report['device']}, {report['threads']} CPU threads\n"]
    if results:
        lines += ["| " + " | ".join(_COLUMNS.values()) + " |", "|" + "---|" * len(_COLUMNS)]
    for result in results:
        shown = result | {"parity": result["parity_text"]}
        cells = ("" if shown.get(c) is None else str(shown[c]) for c in _COLUMNS)
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        f"\n{entry['model']} {entry['backend']} {entry['precision']}: {entry['error']}"
        for entry in report["refused"]
    ]
    without = sorted({r["model"] for r in results if r["weights"] == "random"})
    if without:
        lines.append(f"\nRandom weights (no checkpoint): {', '.join(without)}.")
    return "\n".join(lines) + "\n\n" + published_text({r["network"] for r in results})


def _threads(asked: int | None) -> int:
    from hand_mesh_ros.backends.onnx_backend import usable_threads

    return asked or usable_threads()


def _device_name(device: Any) -> str:
    from hand_mesh_ros.backends.fingerprint import device_text

    if device.type == "cuda":
        return device_text(device)
    return f"CPU {platform.processor() or platform.machine()}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
