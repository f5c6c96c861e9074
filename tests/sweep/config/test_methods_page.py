"""The comparison of methods that docs/methods/README.md proposes for a user's own data is a sweep."""

import re
from pathlib import Path

import yaml

from sweep.config.sweep_spec import load_spec

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "README.md"


def test_the_pages_grid_is_a_sweep(quick_file):
    """In any sweep's file: every method with every beta, three seeds each."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    plain = yaml.safe_load(quick_file.read_text(encoding="utf-8"))
    quick_file.write_text(yaml.safe_dump(plain | yaml.safe_load(block)), encoding="utf-8")
    spec = load_spec(quick_file)
    assert spec.sampler == "grid"
    assert spec.n_configs == spec.trials == 6
    assert (spec.replicates.count, spec.replicates.when) == (3, "all")
