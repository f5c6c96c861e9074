"""The left and the right half of handwritten digits, as tables; of 297 digits the right half is kept back."""

import pandas as pd
from sklearn.datasets import load_digits

found = load_digits()
digits = pd.DataFrame({"digit": [f"d{i:04}" for i in range(len(found.images))], "label": found.target})
for half, columns in (("left", range(4)), ("right", range(4, 8))):
    pixels = {f"row {r}, column {c}": found.images[:, r, c] / 16 for r in range(8) for c in columns}
    pixels = {name: x for name, x in pixels.items() if x.std() > 0.1}  # the others are hardly ever black
    table = digits.join(pd.DataFrame(pixels))
    table.iloc[:-297].to_csv(f"{half}.csv", index=False)
    table.iloc[-297:].to_csv(f"{half}_kept_back.csv", index=False)
