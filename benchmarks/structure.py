"""Figures of how the package is built; exits 1 where a limit is broken.

    python benchmarks/structure.py

Prints the size of files and functions, counts by folder, import circles, and how many files a new
component of each kind touches, which it proves by writing one and asking the registry, and how many
one hyper-parameter touched.
"""

import ast
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import grimp

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "labelattack"
MOST_LINES, MOST_FUNCTION_LINES, MOST_ENTRIES = 350, 50, 9
HYPER_PARAMETER, MOST_NAMING_IT = re.compile("weight[_-]decays?"), 3

# Each with its reason; who mends one deletes its line.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS = {
    "api/label_attack.py:attack": "documents nine arguments",
    "api/evaluation.py:evaluate": "documents 15 arguments",
    "api/functions.py:bench": "documents 29 arguments",
    "cli/attack.py:attack": "half of it declares options",
    "cli/audit.py:audit": "most of it declares options",
    "cli/score.py:score": "half of it declares options",
    "metrics/average_precision.py:average_precision": "a docstring of 30 lines",
}

HEAD = "from dataclasses import dataclass\nimport numpy as np\n"
# For each kind: package of its registry, and a component that is one file.
COMPONENTS = {
    "attack": ("labelattack.attacks", HEAD + """
from labelattack.attacks.base import LabelAttack
from labelattack.attacks import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(LabelAttack):
    \"\"\"Hides nothing.\"\"\"
    def observe(self, labels, rng):
        return labels | True
"""),
    "loss": ("labelattack.defenses", """
from labelattack.defenses.base import PartialLabelLoss
from labelattack.defenses import register
@register("proof")
class Proof(PartialLabelLoss):
    \"\"\"Mean logit.\"\"\"
    def loss(self, logits, step):
        return logits.mean()
"""),
    "dataset": ("labelattack.datasets", HEAD + """
from labelattack.datasets.base import Dataset
from labelattack.datasets import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(Dataset):
    \"\"\"None.\"\"\"
    def load(self):
        return None
"""),
    "model": ("labelattack.models", HEAD + """
from labelattack.models.tiny import Tiny
from labelattack.models import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(Tiny):
    \"\"\"Another name.\"\"\"
"""),
    "mutation": ("labelattack.mutations", HEAD + """
from labelattack.mutations.base import MutationOperator, cell_masks
from labelattack.mutations import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(MutationOperator):
    \"\"\"Deletes cells.\"\"\"
    def deleted(self, stage, rng):
        return cell_masks(stage)[:, None]
"""),
    "corruption": ("labelattack.corruptions", HEAD + """
from labelattack.corruptions.base import Corruption
from labelattack.corruptions import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(Corruption):
    \"\"\"Changes nothing.\"\"\"
    strengths = {"imagenet-c": (1, 2, 3, 4, 5), "cifar-10-c": (1, 2, 3, 4, 5)}
    def __call__(self, image, strength, rng):
        return image.copy()
"""),
    "executor": ("labelattack.benchmark.execution.executors", """
from labelattack.benchmark.execution.executors.local import Local
from labelattack.benchmark.execution.executors import register
@register("proof")
class Proof(Local):
    \"\"\"Another name.\"\"\"
"""),
    "tracker": ("labelattack.benchmark.store.trackers", """
from labelattack.benchmark.store.trackers.base import Tracker
from labelattack.benchmark.store.trackers import register
@register("proof")
class Proof(Tracker):
    \"\"\"Mirrors nothing.\"\"\"
    def record(self, record):
        pass
"""),
    "measure": ("labelattack.measures", """
from typing import ClassVar
from labelattack.measures.base import Measure, Metric
from labelattack.measures import register
@register("proof")
class Proof(Measure):
    \"\"\"Counts images.\"\"\"
    metrics: ClassVar = (Metric("proof", "proof"),)
    def measure(self, run):
        return self.values(len(run.scores), proof=len(run.scores))
"""),
    "protocol": ("labelattack.training.protocols", HEAD + """
from labelattack.training.protocols.finetune import Finetune
from labelattack.training.protocols import register
@register("proof")
@dataclass(frozen=True, kw_only=True)
class Proof(Finetune):
    \"\"\"Another name.\"\"\"
"""),
}  # fmt: skip
PROOF = """
import importlib, sys
from labelattack.registry.plugins import load_plugin
load_plugin(sys.argv[1])
registry = importlib.import_module(sys.argv[2]).registry
registry.create("proof")
declared, = (d for d in registry.declarations() if d.name == "proof")
assert declared.summary, declared
"""


def sizes():
    """Lines of every file, and of every function (decorators and docstring included)."""
    files, functions = {}, {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        text = path.read_text(encoding="utf-8")
        files[name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                key = f"{name}:{node.name}"
                functions[key] = max(lines, functions.get(key, 0))
    return files, functions


def circles():
    """Groups of modules that import each other, type-checking imports left out."""
    graph = grimp.build_graph("labelattack", exclude_type_checking_imports=True)
    reached = {module: graph.find_downstream_modules(module) for module in graph.modules}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in reached
        if module in reached[module] or any(module in reached[o] for o in reached[module])
    }


def too_long(sizes_, most, excused):
    """Messages on what is over a limit, and on exceptions that are needed no more."""
    over = {name: lines for name, lines in sizes_.items() if lines > most}
    told = [
        f"{name} has {n} lines, at most {most}" for name, n in over.items() if name not in excused
    ]
    return told + [f"{name} needs no exception any more" for name in excused if name not in over]


def prove(package, source):
    """Whether a component of one file, which nothing else names, is listed and can be built."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proof.py"
        path.write_text(source, encoding="utf-8")
        command = [sys.executable, "-c", PROOF, str(path), package]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def main():
    files, functions = sizes()
    print(f"files: {len(files)}, lines: {sum(files.values())}, median {median(files.values()):g}, "
          f"most {max(files.values())}")  # fmt: skip
    print(f"functions: {len(functions)}, median {median(functions.values()):g} lines, "
          f"most {max(functions.values())}")  # fmt: skip
    by_folder = defaultdict(list)
    for name, lines in files.items():
        by_folder[str(Path(name).parent)].append(lines)
    print("\nfolder                              files  lines  longest")
    for folder, lines in sorted(by_folder.items()):
        print(f"{folder:35} {len(lines):5} {sum(lines):6} {max(lines):8}")
    broken = too_long(files, MOST_LINES, LONG_FILES)
    broken += too_long(functions, MOST_FUNCTION_LINES, LONG_FUNCTIONS)
    entries = [p for p in (PACKAGE / "benchmark").iterdir() if p.name != "__pycache__"]
    if len(entries) > MOST_ENTRIES:
        broken.append(f"benchmark has {len(entries)} entries, at most {MOST_ENTRIES}")
    broken += [f"import circle: {', '.join(sorted(group))}" for group in circles()]
    print("\nnew             files to touch")
    for kind, (package, source) in COMPONENTS.items():
        error = prove(package, source)
        print(f"{kind:16}{'not proven' if error else 1}")
        if error:
            broken.append(f"{kind} of one file is not usable: {error.strip().splitlines()[-1]}")
    naming = sorted(
        name for name in files if HYPER_PARAMETER.search((PACKAGE / name).read_text("utf-8"))
    )
    print(f"{'hyper-parameter':16}{len(naming)}: {', '.join(naming)}")
    if len(naming) > MOST_NAMING_IT:
        broken.append(f"weight decay is named in {len(naming)} files, at most {MOST_NAMING_IT}")
    print("\n" + ("\n".join(f"BROKEN: {line}" for line in broken) or "all limits are kept"))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
