"""Known vulnerabilities of what is installed here, by pip-audit; a part of `make lint`.

    python tools/audit.py

It asks a server on the internet, so it runs only where pip-audit was installed on purpose
(`pip install .[audit]`), and where the server cannot be reached it says so and passes.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

KNOWN: dict[str, str] = {}
"""Vulnerabilities that do not concern us, by id, each with the reason."""
_TIMEOUT_S = 300.0
_COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"),
    *("--skip-editable", "--timeout", "10"),
]


def main() -> int:
    """0 when nothing is known, or nothing can be; 1 with the list of what is."""
    if importlib.util.find_spec("pip_audit") is None:
        return _skipped("it is not installed (pip install .[audit])")
    try:
        done = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_TIMEOUT_S)
        found = vulnerabilities(done.stdout)
    except subprocess.TimeoutExpired:
        return _skipped(f"no answer in {_TIMEOUT_S:.0f} s")
    except ValueError:
        said = done.stderr.strip().splitlines()
        return _skipped(said[-1] if said else f"it ended with {done.returncode} and no report")
    for line in found:
        print(line)
    print(f"pip-audit: {len(found)} known vulnerabilities" if found else "pip-audit: nothing known")
    return 1 if found else 0


def vulnerabilities(report: str) -> list[str]:
    """One line for each vulnerability of a JSON report that is not `KNOWN`.

    Raises:
        ValueError: it is no such report.
    """
    content = json.loads(report)
    if not isinstance(content, dict) or "dependencies" not in content:
        raise ValueError("no list of dependencies")
    return [
        f"{row['name']} {row['version']}: {found['id']}, "
        f"mended in {', '.join(found['fix_versions']) or 'no version'}"
        for row in content["dependencies"]
        for found in row.get("vulns", ())
        if found["id"] not in KNOWN
    ]


def _skipped(reason: str) -> int:
    print(f"pip-audit: skipped: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
