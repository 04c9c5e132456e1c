"""No pickle, no eval, no network: in the sources by their syntax, and once at run time."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("hand_mesh_ros", "launch", "scripts", "tools", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix == ".py" or (folder == "scripts" and path.is_file())
)
PACKAGE = [path for path in FILES if path.is_relative_to(ROOT / "hand_mesh_ros")]

# Modules whose loaders run what a file says.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Modules that speak with other machines; DDS and the page of the viewer are the package's work.
NETWORK = {
    *("socket", "ssl", "urllib", "urllib3", "http", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("requests", "httpx", "aiohttp", "websockets", "websocket", "paramiko", "huggingface_hub"),
    *("gdown", "wget", "boto3", "wandb"),
}
MAY_USE = {
    "hand_mesh_ros/viewer/page.py": {"socket"},  # whether the page's own address is free
    "hand_mesh_ros/viewer/same_origin.py": {"socket", "urllib", "websockets"},  # names, the server
}
# Calls that run text, a shell, or what a file says.
FORBIDDEN_CALLS = {
    *("eval", "exec", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"),
    *(
        "torch.hub.load",
        "torch.hub.load_state_dict_from_url",
        "torch.jit.load",
        "torch.export.load",
    ),
    *("np.lib.format.read_array", "code.interact"),
}


def named(node):
    """Dotted name of what is called, as it is written."""
    if isinstance(node, ast.Attribute):
        inner = named(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call, name):
    """Value of a keyword argument that is a constant; None where it is absent or computed."""
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def problems(source, allowed=frozenset()):
    """What a source must not have, one line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        roots = set()
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots = {node.module.split(".")[0]}
        found += [f"imports {r}" for r in sorted(roots & (UNPICKLERS | NETWORK) - allowed)]
        if isinstance(node, ast.Call):
            found += [f"line {node.lineno}: {text}" for text in problems_of_call(node)]
    return found


def problems_of_call(call):
    name = named(call.func)
    if name in FORBIDDEN_CALLS:
        yield f"calls {name}"
    if name in ("np.load", "numpy.load") and keyword(call, "allow_pickle") is not False:
        yield f"calls {name} without allow_pickle=False"
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        yield "calls torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
        loader = [k.value for k in call.keywords if k.arg == "Loader"] or call.args[1:2]
        if not loader or "Safe" not in LOADERS.get(named(loader[0]), named(loader[0])):
            yield f"calls {name} with a loader that may make any object"
    if name.startswith("subprocess.") or name.endswith("Popen"):
        shell = [k.value for k in call.keywords if k.arg == "shell"]
        if shell and not (isinstance(shell[0], ast.Constant) and shell[0].value is False):
            yield "starts a shell"


# Loaders by the name that a call gives them; the test below looks at their real classes.
LOADERS = {"_RosLoader": "SafeLoader", "loader": "SafeLoader"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_unpickles_evaluates_or_opens_a_connection(path):
    relative = path.relative_to(ROOT).as_posix()
    assert problems(path.read_text("utf-8"), MAY_USE.get(relative, set())) == []


def test_the_yaml_loaders_make_plain_data_alone():
    import yaml

    from hand_mesh_ros.ros.parameter_files import _RosLoader

    safe = (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert issubclass(_RosLoader, safe)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.getcwd []", _RosLoader)
    text = (ROOT / "hand_mesh_ros/training/datasets/dexycb.py").read_text()
    assert 'loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)' in text


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import pickle", "imports pickle"),
        ("from urllib.request import urlopen", "imports urllib"),
        ("import requests as r", "imports requests"),
        ("eval('1')", "calls eval"),
        ("import os\nos.system('ls')", "calls os.system"),
        ("np.load(path)", "allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=False"),
        ("torch.load(path)", "weights_only"),
        ("yaml.load(text, yaml.Loader)", "may make any object"),
        ("yaml.load(text)", "may make any object"),
        ("subprocess.run('ls', shell=True)", "starts a shell"),
        ("subprocess.run('ls', shell=yes)", "starts a shell"),
    ],
)
def test_the_search_finds_what_it_looks_for(source, word):
    assert any(word in line for line in problems(source)), problems(source)


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
        "yaml.load(text, yaml.SafeLoader)",
        "model.eval()",
        "subprocess.run(['ls'])",
    ],
)
def test_the_search_lets_the_safe_forms_pass(source):
    assert problems(source) == []


# Audit events (PEP 578) of CPython itself: what libraries do counts as well.
WATCH = """
import sys
seen = []
def watch(event, args):
    is_remote = event == "socket.connect" and not isinstance(args[1], (str, bytes))
    if is_remote or event in (
        *("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "http.client.connect"),
        *("pickle.find_class", "os.system", "subprocess.Popen"),
    ):
        seen.append((event, str(args)[:200]))
sys.addaudithook(watch)
"""
RUN_PIPELINE = """
from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.ros.parameters import NodeParameters
from hand_mesh_ros.sources.synthetic import SyntheticCamera
pipeline = build_pipeline(NodeParameters())
camera = SyntheticCamera(320, 240, seed=7)
hands = sum(len(pipeline.process(camera.frame_at(i).frame).hands) for i in range(3))
pipeline.close()
assert hands, "no hand was seen"
sys.exit(str(seen) if seen else 0)
"""


def test_the_pipeline_opens_no_connection_and_unpickles_nothing():
    done = subprocess.run(
        [sys.executable, "-c", WATCH + RUN_PIPELINE], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_the_run_time_test_watches_is_noticed():
    """An audit hook that hears nothing would pass."""
    program = (
        WATCH + "import socket, pickle\nsocket.getaddrinfo('localhost', 1)\n"
        "pickle.loads(pickle.dumps(sys.exit))\nsys.exit(0 if len(seen) >= 2 else str(seen))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
