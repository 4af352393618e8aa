"""Known vulnerabilities of all that is installed here, by pip-audit; says so where that could not be found out.

By itself pip-audit ends well where its service knows nothing of a package, as mirrors of the index do not. So it is
asked first about a version of Pillow that is full of known holes: who does not know these is not believed in the rest.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

KNOWN_BAD = "pillow==9.0.0"


def ask(*words: str) -> list[dict]:
    """What pip-audit says of each package; nothing where it has no answer."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--timeout", "5", "-f", "json", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
        return []


def answers() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "known.txt"
        file.write_text(KNOWN_BAD)
        return any(row.get("vulns") for row in ask("-r", str(file), "--no-deps", "--disable-pip"))


def main() -> int:
    if not answers():
        print(f"LEFT OUT: audit: the vulnerability service knows nothing of {KNOWN_BAD}, so nothing was audited")
        return 0
    rows = ask("--local", "--skip-editable")
    if not rows:
        print("audit: the vulnerability service broke off; nothing was audited")
        return 1
    found = [(row, hole) for row in rows for hole in row.get("vulns", [])]
    for row, hole in found:
        print(f"{row['name']} {row['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'none yet'}")
    for row in rows:
        if "skip_reason" in row:
            print(f"not audited: {row['name']}: {row['skip_reason']}")
    print(f"audit: {len(rows)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
