"""MoPoE-VAE: the model, its objective, its training and its evaluation.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that `import mopoe`
alone does not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
