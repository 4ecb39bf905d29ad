"""The README inside the zip: how the set was made and how to load it."""

from __future__ import annotations

from typing import Any

from osmis_core.data.pair import Pair

_OF_PAIRS = """\
# {kept} image-mask pairs, made from one

One annotated image was given, a generative model was trained on it alone (one-shot image-mask
synthesis), and {generated} new pairs were generated. Each was compared with the source by a network
that took no part in the training; the {rejected} least alike were rejected, {kept} are here.

Original size of the source: {width} x {height} pixels. Classes:

| value in the mask | class | share of the source |
|---|---|---|
{classes}

| file | is |
|---|---|
| `images/000000.png` ... | 8-bit {colours} images |
| `masks/000000.png` ... | 8-bit masks of the same names: class indices, 255 = ignore, no palette |
| `metadata.jsonl` | files, seed, score (distance, mean 1), strangeness (limit 1), class areas |
| `rejected.jsonl` | the rejected ones: seed, score, why |
| `original/` | the pair that everything comes from, worth training on as well |
| `preview.jpg` | the source and the first pairs at a glance |
| `manifest.json` | settings, seeds, hashes and versions |

The pairs vary one scene: they help where examples of it are short, and hold nothing that the source
does not show. Test on real annotated images.

## PyTorch

```python
import numpy as np, torch
from pathlib import Path
from PIL import Image
read = lambda path: torch.from_numpy(np.array(Image.open(path)))
pairs = [(read(p), read(Path("masks", p.name)).long()) for p in sorted(Path("images").glob("*"))]
```

## Hugging Face datasets

```python
from datasets import load_dataset
pairs = load_dataset("imagefolder", data_dir=".", split="train")  # datasets 3.4 or newer
print(pairs[0]["image"], pairs[0]["mask"], pairs[0]["score"])
```
"""

_OF_IMAGES = """\
# {kept} images, made from one

One image was given, without a mask; a generative model was trained on it alone (One-Shot GAN), and
{generated} new images were generated. Each was compared with the source by a network that took no
part in the training; the {rejected} least alike were rejected, {kept} are here.

Original size of the source: {width} x {height} pixels.

| file | is |
|---|---|
| `images/000000.png` ... | 8-bit {colours} images |
| `metadata.jsonl` | one line an image: file, seed, score (distance, 1 on average) |
| `rejected.jsonl` | the rejected ones: seed, score, why |
| `original/` | the image that everything comes from, worth training on as well |
| `preview.jpg` | the source and the first images at a glance |
| `manifest.json` | settings, seeds, hashes and versions |

The images vary one scene: they help where examples of it are short, and hold nothing that the
source does not show. Test on real images.

## PyTorch

```python
import numpy as np, torch
from pathlib import Path
from PIL import Image
images = [torch.from_numpy(np.array(Image.open(p))) for p in sorted(Path("images").glob("*"))]
```

## Hugging Face datasets

```python
from datasets import load_dataset
images = load_dataset("imagefolder", data_dir=".", split="train")
print(images[0]["image"], images[0]["score"])
```
"""


def archive_readme(pair: Pair, manifest: dict[str, Any]) -> str:
    """Markdown text for one sample set.

    Args:
        pair: the source; without a mask, the set is described as one of images.
        manifest: with the counts ``generated``, ``kept`` and ``rejected``.
    """
    rows = [
        f"| {index} | {name.replace('|', '/')} | {100 * share:.1f} % |"
        for index, (name, share) in enumerate(
            zip(pair.class_names, pair.area_fractions(), strict=True)
        )
    ]
    template = _OF_PAIRS if pair.has_mask else _OF_IMAGES
    return template.format(
        kept=manifest["kept"],
        generated=manifest["generated"],
        rejected=manifest["rejected"],
        width=pair.width,
        height=pair.height,
        classes="\n".join(rows),
        colours="grey" if pair.is_grey else "RGB",
    )
