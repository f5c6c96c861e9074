"""Hyperparameter sweeps for MoPoE multimodal VAEs.

`sweep.open(DIR)` gives the tables of a results folder as Polars lazy frames, `sweep.load_spec(FILE)` a
sweep's YAML file as an object; `sweep.run_sweep` runs it.
The public names are listed in `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
