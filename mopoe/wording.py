"""The words of an error: a value as a file has it, and the nearest valid name."""

import difflib
from collections.abc import Iterable

_MEANT = {
    **dict.fromkeys(("learning_rate", "learningrate", "learn_rate"), "lr"),
    **dict.fromkeys(("latent_size", "latents", "z_dim", "n_latents", "latent_dims"), "latent_dim"),
    **dict.fromkeys(("kl_weight", "kl_beta"), "beta"),
    **dict.fromkeys(("weights", "mixture_weights"), "subset_weights"),
    **dict.fromkeys(("n_epochs", "max_epochs", "num_epochs"), "epochs"),
}
"""What other frameworks call a setting, and what it is called here."""


def unknown_key(found: object, possible: Iterable[str]) -> str:
    """Return the sentence about a key that does not exist.

    >>> unknown_key("bta", ["beta", "lr"])
    "unknown key 'bta'; did you mean 'beta'? possible: beta, lr"
    """
    return f"unknown key {found!r}; {did_you_mean(found, possible)}"


def did_you_mean(found: object, possible: Iterable[str], *, these: str = "possible") -> str:
    """Return the hint for a wrong name: the nearest name, if one is near, and all possible ones.

    >>> did_you_mean("bta", ["beta", "lr"]), did_you_mean("learning_rat", ["beta", "lr"])
    ("did you mean 'beta'? possible: beta, lr", "did you mean 'lr'? possible: beta, lr")
    """
    names = list(possible)
    near = difflib.get_close_matches(str(found), names, n=1)
    if not near:
        synonyms = {other: name for other, name in _MEANT.items() if name in names}
        near = [synonyms[other] for other in difflib.get_close_matches(str(found), synonyms, n=1)]
    return (f"did you mean {near[0]!r}? " if near else "") + f"{these}: {', '.join(names) or 'none'}"


def show(value: object) -> str:
    """Return a value for a message as it would stand in a YAML file, mappings and long lists by their kind.

    >>> show(True), show("14"), show([1, 2]), show({"a": 1})
    ('true', "'14'", '[1, 2]', 'a mapping')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        short = len(value) <= 6 and not any(isinstance(v, (dict, list, tuple)) for v in value)
        return "an empty list" if not value else f"[{', '.join(map(show, value))}]" if short else "a list"
    return repr(value)
