"""What may import what: floors, light packages, and public names that resolve."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mopoe", "sweep", "search_spaces")
HEAVY_STORE = ("ray", "optuna", "pyarrow", "polars")
DRAWING = ("plotly", "matplotlib", "pydantic")


def modules(package: str) -> list[str]:
    """Return the names of a package and of all modules below it, from the files."""
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
    )


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Give every module's name and syntax tree."""
    for package in PACKAGES:
        for name in modules(package):
            path = ROOT / Path(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            yield name, ast.parse(file.read_text())


def imported(tree: ast.Module) -> set[str]:
    """Return the full names that a module imports anywhere, lazily and for type checking included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def below(name: str, *packages: str) -> bool:
    """Return whether a module is one of the packages or lies in one."""
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def import_without(forbidden: tuple[str, ...], names: list[str], then: str = "") -> None:
    """Import modules in a fresh process where the forbidden ones cannot be imported."""
    code = [
        "import importlib, sys",
        # None makes an import fail as if the package were not installed.
        f"sys.modules.update(dict.fromkeys({forbidden!r}))",
        f"for name in {names!r}: importlib.import_module(name)",
        then,
        f"found = [m for m, module in sys.modules.items() if module and m.split('.')[0] in {forbidden!r}]",
        "assert not found, found",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


LIGHT_MOPOE = [
    "errors",
    "config",
    "evaluation_config",
    "methods",
    "own_metrics",
    "quantities",
    "reports",
    "subsets",
    "plugins",
    "validation",
    "wording",
    "data",
    "data.registry",
]
ANALYSIS = [m for m in modules("sweep") if below(m, "sweep.store", "sweep.analysis", "sweep.report")]


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        pytest.param(modules("mopoe"), HEAVY_STORE, id="mopoe"),
        pytest.param(
            ["mopoe", *(f"mopoe.{m}" for m in LIGHT_MOPOE)], ("torch", *HEAVY_STORE), id="light mopoe"
        ),
        pytest.param(
            [
                *ANALYSIS,
                "sweep",
                "sweep.errors",
                "sweep.config.sweep_spec",
                "sweep.config.space",
                "sweep.config.schema",
                "sweep.search.trial",
                "sweep.search.state",
                "sweep.search.status",
                "sweep.cluster.fetch",
                "sweep.cluster.file",
                "sweep.cluster.node_info",
                "sweep.manifest",
                "sweep.results",
                "sweep.verify",
                "search_spaces",
            ],
            ("torch", "ray"),
            id="store, analysis, report, spec",
        ),
        pytest.param(["search_spaces"], ("torch", *HEAVY_STORE, *DRAWING), id="search_spaces"),
        pytest.param(["sweep.running.local", "sweep.running.progress"], ("ray",), id="single trials"),
        pytest.param(["sweep.cli"], ("torch", *HEAVY_STORE, *DRAWING), id="cli"),
    ],
)
def test_modules_import_without_what_they_do_not_need(names: list[str], forbidden: tuple[str, ...]) -> None:
    """They import where the other packages are not even installed."""
    import_without(forbidden, names)


HELP = """
from typer.testing import CliRunner
from sweep.cli import app
for command in {commands}:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (command, result.exception)
"""


def test_help_is_printed_without_anything_heavy() -> None:
    """`sweep --help` answers at once, without torch, Ray, Arrow or pydantic."""
    import_without(("torch", *HEAVY_STORE, *DRAWING), ["sweep.cli"], HELP.format(commands="[[]]"))


def test_help_of_every_command_is_printed_without_anything_heavy() -> None:
    """Typer itself reads a command's options with pydantic; nothing else is needed."""
    commands = (
        "[[c.name or c.callback.__name__] for c in app.registered_commands]"
        " + [[g.name, *c] for g in app.registered_groups"
        " for c in [[], *([c.name or c.callback.__name__] for c in g.typer_instance.registered_commands)]]"
    )
    forbidden = ("torch", *HEAVY_STORE, "plotly", "matplotlib")
    import_without(forbidden, ["sweep.cli"], HELP.format(commands=commands))


def test_every_module_is_found_by_the_import_system() -> None:
    """No folder lacks its `__init__`, so that the tests above leave out none."""
    for package in PACKAGES:
        found = [package]
        found += [m.name for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}.", onerror=None)]
        assert sorted(found) == modules(package)


def test_torchvision_is_imported_in_one_place() -> None:
    """Its wheel needs a remedy beside a CPU build of torch, which exists once."""
    assert [name for name, tree in sources() if any(below(i, "torchvision") for i in imported(tree))] == [
        "mopoe.runtime"
    ]


def allowed(name: str) -> tuple[str, ...]:
    """Return the project's packages that a module may import."""
    if below(name, "mopoe"):
        return ("mopoe",)
    if below(name, "search_spaces"):
        return ("search_spaces", "mopoe.errors", "mopoe.wording")
    plain = ("mopoe.errors", "mopoe.wording", "mopoe.reports", "mopoe.subsets", "sweep.errors")
    parts = ("mopoe", "search_spaces", "sweep.errors", "sweep.manifest", "sweep.config", "sweep.store")
    floors = {
        "sweep.errors": ("mopoe.errors",),
        "sweep.store": (*plain, "search_spaces", "sweep.config", "sweep.store"),
        "sweep.analysis": (*plain, "sweep.config", "sweep.store", "sweep.analysis"),
        "sweep.report": (*plain, "sweep.config", "sweep.store", "sweep.analysis", "sweep.report"),
        "sweep.config": ("mopoe", "search_spaces", "sweep.errors", "sweep.config"),
        "sweep.search": (*parts, "sweep.analysis", "sweep.search"),
        "sweep.cluster": (*parts, "sweep.cluster"),
        "sweep.running": (
            *parts,
            *("sweep.analysis", "sweep.report.formatting", "sweep.search", "sweep.cluster", "sweep.running"),
        ),
    }
    for floor, packages in floors.items():
        if below(name, floor):
            return packages
    return PACKAGES


def test_imports_only_point_down() -> None:
    """Mopoe knows neither sweep nor search_spaces; sweep: report, analysis, store; running, search, spec."""
    wrong = [
        f"{name} imports {i}"
        for name, tree in sources()
        for i in sorted(imported(tree))
        if below(i, *PACKAGES)
        # `from package import module` names the package too.
        if not below(i, *allowed(name)) and not any(a.startswith(f"{i}.") for a in allowed(name))
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Not even lazily, for types alone, or by a detour: some order reads every module before its users."""
    known = {name for package in PACKAGES for name in modules(package)}
    uses = {name: (imported(tree) & known) - {name} for name, tree in sources()}
    # `from package import module` names the package too, which needs none of what it holds.
    uses = {name: {u for u in used if not below(name, u)} for name, used in uses.items()}
    order = list(TopologicalSorter(uses).static_order())
    assert len(order) == len(known)


def test_modules_are_short() -> None:
    """One idea each: none above 350 lines, docstrings included."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [str(p) for p in files if len(p.read_text(encoding="utf-8").splitlines()) > 350] == []


def test_nothing_imports_the_command_line() -> None:
    """The command line is the top floor; the runner is below it alone."""
    for name, tree in sources():
        if name != "sweep.__main__":
            assert not any(below(i, "sweep.cli") for i in imported(tree)), name
        if name != "sweep.cli":
            assert not any(below(i, "sweep.commands.run") for i in imported(tree)), name
        if name not in ("sweep.commands.run", "sweep"):
            assert not any(below(i, "sweep.running.driver") for i in imported(tree)), name


PUBLIC = {
    # Data, a model, its training, its evaluation, its checkpoints, and what networks of one's own take.
    "mopoe": """
        TrialConfig train load load_model TrainedModel MoPoE build_model MethodSpec EpochReport
        load_data data_from_arrays MultimodalData Split ModalitySpec Covariate
        EvaluationConfig Evaluator Evaluation Classifiers load_classifiers
        metric Metric MetricContext plugin Modality
        Likelihood Bernoulli Categorical FeatureNormal Laplace NegativeBinomial Normal Poisson
    """,
    # A sweep's file, running it, and its results.
    "sweep": "SweepSpec load_spec run_sweep SamplerContext Results Store open",
}


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_offers_what_a_notebook_needs_and_nothing_else(package: str) -> None:
    """As `dir` and completion show it; each name is there and documented, any other is an error."""
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    with pytest.raises(AttributeError, match=f"^No {package} attribute nothing$"):
        module.nothing  # noqa: B018 - the access is what is tested
