# The public names of sweep: the one list, for type checkers and at run time.
from .config.sweep_spec import SweepSpec as SweepSpec
from .config.sweep_spec import load_spec as load_spec
from .results import Results as Results
from .results import open as open  # noqa: A004 - sweep.open reads like gzip.open
from .running.driver import run_sweep as run_sweep
from .search.samplers import SamplerContext as SamplerContext
from .store.read import Store as Store
