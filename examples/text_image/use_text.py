"""Prints what the best model reads in held-out pictures."""

import captions

import sweep

model = sweep.open("results/text_image").model()
test = captions.load().test
numbers = model.impute({"image": test.x["image"][:8].numpy()})["text"].argmax(1)
for label, row in zip(test.labels[:8].tolist(), numbers.tolist(), strict=True):
    print(captions.NAMES[label], "->", "".join(captions.ALPHABET[i] for i in row).strip())
