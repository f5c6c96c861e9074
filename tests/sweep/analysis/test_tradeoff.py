import math

from sweep.analysis.tradeoff import tradeoff
from sweep.store.read import open_store


def test_tradeoff_of_the_made_up_sweep(made_up_sweep):
    """Eleven trials, seven configs, five on the front, and the area under its steps."""
    found = tradeoff(open_store(made_up_sweep))
    assert (found.trials.height, found.configs.height) == (11, 7)
    on_front = [t for t, on in zip(found.points.trial_ids, found.on_front, strict=True) if on]
    assert on_front == ["t00", "t01", "t02", "t03", "t04"]
    assert [p.trial_id for p in found.picks] == ["t04", "t00", "t02"]
    # Steps from the right: width in coherence times height above -1700.
    area = 0.42 * 220 + 0.13 * 210 + 0.17 * 188 + 0.06 * 130 + 0.02 * 60
    assert math.isclose(found.hypervolume, area)
