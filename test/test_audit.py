"""The audit of dependencies: finds, passes, and is skipped by name where it cannot run."""

import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "audit.py"
REPORT = {
    "dependencies": [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "2.0", "vulns": [{"id": "X-1", "fix_versions": ["2.1"]}]},
        {"name": "ours", "skip_reason": "editable"},
    ]
}


@pytest.fixture
def audit(tmp_path, monkeypatch):
    """The tool, with a pip-audit that does what the test writes down."""
    if not TOOL.exists():
        pytest.skip("no tools folder here")
    spec = importlib.util.spec_from_file_location("audit", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def fake(program):
        (tmp_path / "pip_audit.py").write_text(program)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        importlib.invalidate_caches()

    module.fake = fake
    return module


def test_without_pip_audit_it_is_skipped_by_name(audit, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert audit.main() == 0
    assert capsys.readouterr().out == (
        "pip-audit: skipped: it is not installed (pip install .[audit])\n"
    )


def test_without_a_network_it_is_skipped_with_the_reason(audit, capsys):
    audit.fake("import sys; sys.exit('ConnectionError: no route to host')")
    assert audit.main() == 0
    assert "skipped: ConnectionError: no route to host" in capsys.readouterr().out


def test_a_vulnerability_fails(audit, capsys):
    audit.fake(f"import sys; print({json.dumps(REPORT)!r}); sys.exit(1)")
    assert audit.main() == 1
    assert "bad 2.0: X-1, mended in 2.1" in capsys.readouterr().out


def test_what_does_not_concern_us_passes(audit, monkeypatch, capsys):
    audit.fake(f"import sys; print({json.dumps(REPORT)!r}); sys.exit(1)")
    monkeypatch.setattr(audit, "KNOWN", {"X-1": "not used"})
    assert audit.main() == 0
    assert "nothing known" in capsys.readouterr().out


def test_make_lint_runs_it():
    makefile = TOOL.parents[1] / "Makefile"
    rule = makefile.read_text().split("\nlint:")[1].split("\n\n")[0]
    assert "tools/audit.py" in rule
