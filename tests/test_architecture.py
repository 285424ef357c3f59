"""The design's rules about who may import whom, where randomness comes from, and how long a file may be."""

import ast
from pathlib import Path

import pytest

from core_distill import methods
from core_distill.recipes import RECIPES

ROOT = Path(__file__).parent.parent
PACKAGES = ("continual", "core_distill", "federated", "privacy")
ADAPTERS = {
    "continual": {"avalanche"},
    "federated": {"datasets", "flwr", "flwr_datasets", "ray"},
    "privacy": {"dp_accounting", "opacus"},
}
BORROWS_GLOBAL_GENERATORS = ("continual/randomness.py",)
"""Avalanche knows no other randomness: here it is lent seeded global generators, and they are given back."""
RUNS_ON_RAY = ("core_distill/jobs.py",)
"""Where independent jobs may go to a Ray cluster, without Flower."""
SHARED = (
    "core_distill/checkpoint.py",
    "core_distill/cli/distill.py",
    "core_distill/distill.py",
    "core_distill/experiment.py",
    "core_distill/partials.py",
    "core_distill/recipes/condense.py",
    "core_distill/recipes/recipe.py",
)
"""Code that every method and recipe goes through."""
FLOORS = (
    (
        "arriving",
        "clock",
        "environment",
        "files",
        "identity",
        "jobs",
        "partials",
        "progress",
        "randomness",
        "types",
        "vectors",
    ),
    ("augment", "checkpoint", "networks"),
    ("engine",),
    ("data", "distill", "peak_memory", "training"),
    ("averaging", "matching", "synthetic"),
    ("evaluation", "methods", "run_folder"),
    ("recipes",),
    ("sharding",),
    ("experiment",),
    ("benchmark",),
    ("cli",),
)
"""The packages and modules of the core: each imports only what stands on a floor before its own."""
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def is_for_types_only(node, parents):
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return True
    return False


def imports(path):
    """The modules a file imports at run time, however deep inside functions."""
    tree = ast.parse(path.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and not is_for_types_only(node, parents):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found.update(names)
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
    return found


def under(modules, *prefixes):
    return sorted(m for m in modules if any(m == p or m.startswith(p + ".") for p in prefixes))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_adapters_import_the_core_never_the_reverse_and_never_each_other(path):
    package = path.relative_to(ROOT).parts[0]
    others = [other for other in PACKAGES if other not in (package, "core_distill")]
    assert under(imports(path), *others, "tests", "examples") == []
    allowed = {"ray"} if name_of(path) in RUNS_ON_RAY else set()
    third_party = [
        module for adapter, modules in ADAPTERS.items() if adapter != package for module in modules - allowed
    ]
    assert under(imports(path), *third_party) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_layers_of_the_core(path):
    parts = path.relative_to(ROOT).parts
    own = parts[1].removesuffix(".py")
    if parts[0] == "core_distill" and own != "__init__":
        (floor,) = [number for number, names in enumerate(FLOORS) if own in names]
        known = {own, *(name for names in FLOORS[:floor] for name in names)}
        used = {module.split(".")[1] for module in under(imports(path), "core_distill") if "." in module}
        assert sorted(used - known) == []
    if parts[:2] not in (("core_distill", "data"), ("core_distill", "networks")):
        assert under(imports(path), "torchvision") == []
    if parts[:2] != ("core_distill", "cli") and parts[-1] not in ("cli.py", "demo.py", "console.py"):
        assert under(imports(path), "core_distill.cli", "typer", "rich", "click") == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_unsafe_and_no_global_randomness(path):
    """No pickle, no seeding of global generators, no clock in a seed."""
    borrowed = ("random",) if name_of(path) not in BORROWS_GLOBAL_GENERATORS else ()
    assert under(imports(path), "pickle", "dill", "cloudpickle", *borrowed) == []
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    banned = ("torch.manual_seed", "torch.seed", "np.random.seed", "numpy.random.seed", "torch.load", "torch.save")
    assert [call for call in calls if call in banned] == []
    seeding = [call for call in calls if call.endswith(".manual_seed")]
    assert seeding == [] or path.name == "randomness.py"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_small_and_public_ones_are_explained(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 300
    assert ast.get_docstring(tree), "a module docstring says why the file exists"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{node.name} has {length} lines"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def named(tree):
    """The methods and recipes that code names: classes, functions and modules of theirs, and texts that are their names.

    Defaults of arguments may name one: they choose where nobody has, and treat none in its own way.
    """
    names = {*methods.__all__, *RECIPES, *(make.__name__ for make in RECIPES.values())}
    defaults = {
        id(default)
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for default in (*node.defaults, *node.kw_defaults)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.Constant) and id(node) not in defaults:
            found.add(node.value)
    return sorted(found & names)


@pytest.mark.parametrize("path", SHARED)
def test_no_branch_on_a_method_in_shared_code(path):
    text = (ROOT / path).read_text()
    assert named(ast.parse(text)) == []
    assert under(imports(ROOT / path), "core_distill.methods") == []


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("if isinstance(method, GradientMatching): pass", "GradientMatching"),
        ("if type(method) is methods.Adversarial: pass", "Adversarial"),
        ("if method.__class__.__name__ == 'FeatureAlignment': pass", "FeatureAlignment"),
        ("if recipe.name in ('dm', 'idc-i'): pass", "idc-i"),
        ("match recipe.name:\n    case 'cafe': pass", "cafe"),
        ("STEPS = {'frepo': 3}", "frepo"),
        ("from core_distill.recipes import ld_ridge as other", "ld_ridge"),
        ("from core_distill.methods import KernelRegression as Other", "KernelRegression"),
        ("def distil(recipe='dm'):\n    return recipe != 'mtt'", "mtt"),
    ],
)
def test_a_planted_branch_is_found(branch, name):
    assert name in named(ast.parse(branch))


def test_a_default_is_no_branch():
    assert named(ast.parse("def distil(data, recipe='dm', *, other='cafe'): ...")) == []


def test_every_package_is_in_the_wheel_and_nothing_else():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = sorted({path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in FILES})
    assert listed == found
