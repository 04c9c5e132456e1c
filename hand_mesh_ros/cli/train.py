"""`hand-mesh train`: train a network by the name of its task."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import write_report
from hand_mesh_ros.training.task import task_names

INSTALL = "pip install hand_mesh_ros[train]"
_OF_THE_EXTRA = {"lightning", "safetensors", "tensorboard", "torch"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    known = ", ".join(task_names()) or "none yet"
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"task, one of: {known}")
    parser.add_argument("--config", type=Path, metavar="F.yaml", help="changes to the defaults")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="further changes, such as trainer.steps=1000 network.width=256",
    )
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="for the run's files (default: out/train/...)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with that folder's run")
    parser.add_argument(
        "--preview", type=Path, metavar="F.png", help="only write a sheet of training samples"
    )
    parser.add_argument("--report", type=Path, metavar="F.json", help="write how it ended")
    parser.add_argument(
        "--list", action="store_true", help="the tasks, or all options of task NAME; trains nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Train; 130 when it was interrupted."""
    trainer = _trainer_module()
    from hand_mesh_ros.networks.checkpoint_file import CheckpointError
    from hand_mesh_ros.training.datasets.base import DatasetError
    from hand_mesh_ros.training.typed_config import ConfigError

    _check_folders(args)
    try:
        if args.list:
            return _list(args)
        config = _config(args)
        if args.preview is not None:
            return _preview(trainer.build_task(config), args.preview)
        default = Path("out/train") / f"{config.name}_{time.strftime('%Y%m%d_%H%M%S')}"
        folder = args.resume or args.run_dir or default
        result = trainer.train(config, folder, resume=args.resume is not None)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    except (trainer.TrainingError, CheckpointError, DatasetError) as error:
        print(f"hand-mesh train: {error}", file=sys.stderr)
        return 1
    return _finish(args, folder, result) if trainer.is_first_process() else 0


def _trainer_module() -> Any:
    try:
        return importlib.import_module("hand_mesh_ros.training.trainer")
    except ImportError as error:
        if (error.name or "").split(".")[0] not in _OF_THE_EXTRA:
            raise
        raise UsageError(f"training needs {error.name}: {INSTALL}") from error


def _check_folders(args: argparse.Namespace) -> None:
    """Better now than after hours."""
    for name in ("report", "preview"):
        path = getattr(args, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"--{name} {path}: no such folder")


def _config(args: argparse.Namespace) -> Any:
    from hand_mesh_ros.training.run_config import read_run_config
    from hand_mesh_ros.training.run_folder import RunFolder

    if args.resume is None:
        config = _defaults(args.name)
        if args.config is not None:
            config = config.changed(read_run_config(args.config))
        return config.assigned(args.set)
    if args.config is not None or args.run_dir is not None:
        raise UsageError("--resume takes folder and config from the run; leave the other away")
    for text in args.set:
        if not text.startswith("trainer."):
            raise UsageError(f"--set {text}: a run that is resumed can only change trainer.*")
    values = read_run_config(RunFolder(args.resume).config)
    config = _defaults(args.name or str(values.get("name")))
    return config.changed(values).assigned(args.set)


def _defaults(name: str | None) -> Any:
    from hand_mesh_ros.training.run_config import default_run_config

    if name is None:
        raise UsageError(f"which task? One of: {', '.join(task_names())}")
    if name not in task_names():
        raise UsageError(f"task {name!r} is unknown, expected one of: {', '.join(task_names())}")
    return default_run_config(name)


def _list(args: argparse.Namespace) -> int:
    from hand_mesh_ros.training.task import task_entry

    if args.name is not None:
        print(_config(args).to_yaml(), end="")
        return 0
    for name in task_names():
        text = (task_entry(name).task.__doc__ or "").strip().splitlines()
        print(f"{name:<16}{text[0] if text else ''}".rstrip())
    return 0


def _preview(task: Any, path: Path) -> int:
    import cv2

    try:
        sheet = task.preview(48)
    except NotImplementedError as error:
        raise UsageError(f"--preview: {error}") from error
    try:
        written = cv2.imwrite(str(path), sheet[:, :, ::-1])
    except cv2.error:
        written = False
    if not written:
        raise UsageError(f"--preview {path}: cannot be written, expected a .png or .jpg")
    print(path)
    return 0


def _finish(args: argparse.Namespace, folder: Path, result: Any) -> int:
    figures = "".join(f"  {name} {value:.4g}" for name, value in result.figures.items())
    print(f"{result.steps} steps, {result.seconds:.0f} s{figures}")
    print(f"weights: {result.weights}")
    report = {
        "task": result.task,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "figures": result.figures,
        "weights": str(result.weights),
        "run_dir": str(folder),
        "finished": result.finished,
    }
    write_report(args.report, report)
    if not result.finished:
        print(f"to go on: hand-mesh train --resume {folder}")
    return 130 if result.interrupted else 0
