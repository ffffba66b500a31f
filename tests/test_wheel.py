"""What the wheel holds, and what a command imports before it knows what it is asked for."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIGHT = """
import importlib, json, pathlib, sys
root = pathlib.Path(sys.argv[1])
names = [path for name in ("commands", "training") for path in sorted(root.glob(f"nlptasks/applications/*/{name}.py"))]
names += sorted(root.glob("nlptasks/pretraining/commands/*.py")) + [root / "nlptasks/train/options.py"]
names += [root / "nlptasks/serve/commands.py"]
loaded = []
for path in names + [root / "nlptasks/applications/options.py", root / "nlptasks/console.py"]:
    module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(module)
    loaded.append(module)
heavy = ["keras", "tensorflow", "jax", "torch", "matplotlib", "transformers", "grain", "orbax", "usearch"]
heavy += ["fastapi", "uvicorn"]
print(json.dumps({"loaded": loaded, "heavy": [name for name in heavy if name in sys.modules]}))
"""


def test_no_module_of_commands_or_options_imports_keras():
    done = subprocess.run([sys.executable, "-c", LIGHT, ROOT], cwd=ROOT, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["heavy"] == []
    assert {"nlptasks.applications.reading.commands", "nlptasks.pretraining.commands.train"} <= set(found["loaded"])
    assert len(found["loaded"]) > 15


def test_a_command_imports_the_module_of_its_first_word_only():
    code = (
        "import sys\nfrom nlptasks.command import main\n"
        "try:\n    main(['labeling', 'train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted(name for name in sys.modules if name.endswith('.commands')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stderr.split() == [b"nlptasks.applications.labeling.commands"]


def test_the_wheel_holds_commands_models_and_types(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "nlptasks", tree / "nlptasks", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    [wheel] = tmp_path.glob("nlptasks-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
        entry = next(name for name in members if name.endswith("entry_points.txt"))
        assert b"nlptasks = nlptasks.command:main" in archive.read(entry)
    inside = {str(path.relative_to(ROOT)) for path in (ROOT / "nlptasks").rglob("*.py")}
    inside |= {str(path.relative_to(ROOT)) for path in (ROOT / "nlptasks" / "catalogue").rglob("*.json")}
    files = [path for path in (ROOT / "nlptasks" / "bundled").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    models = {str(path.relative_to(ROOT)) for path in files}
    only_in_a_clone = {name for name in models if name.startswith("nlptasks/bundled/base/")}
    assert len(models - only_in_a_clone) >= 11
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "nlptasks" / "serve" / "page").iterdir()}
    assert inside | models - only_in_a_clone | pages | {"nlptasks/py.typed"} <= members
    assert len(pages) > 5
    assert not only_in_a_clone & members
    assert wheel.stat().st_size < 60e6
    assert {name.split("/")[0] for name in members} == {"nlptasks", wheel.name.split("-py3")[0] + ".dist-info"}
