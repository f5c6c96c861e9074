"""Translated PolyMNIST: digits of 21 pixels at random places of the crops (Daunhawer et al. 2022).

Read from the layouts of PolyMNIST, or from the file that `sweep data build translated_polymnist` makes.
"""

from functools import partial

from mopoe.data import polymnist

load = partial(polymnist.load, name="translated_polymnist")
