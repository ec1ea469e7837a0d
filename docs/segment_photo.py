"""Label the pixels of a photo by an exported segmentor, with NumPy, Pillow and ONNX Runtime alone.

python segment_photo.py iformer_m_40k_segmentor_512x512_fp32.onnx photo.jpg labels.png

The file is of `tools/export.py --to onnx --what segmentor --image`. The photo is resized to the size of the file, or,
for one made with `--dynamic`, to the nearest size in multiples of 256; it must not be padded.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, photo: str, out: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    height, width = session.get_inputs()[0].shape[2:]
    picture = Image.open(photo).convert('RGB')
    if not isinstance(height, int):
        height, width = (max(256, 256 * round(side / 256)) for side in (picture.height, picture.width))
    pixels = np.asarray(picture.resize((width, height)), dtype=np.float32).transpose(2, 0, 1)[None]  # (1, 3, H, W)
    [labels] = session.run(['labels'], {'image': pixels})  # (1, H, W)
    labels = Image.fromarray(labels[0].astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    colors = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)[np.asarray(labels)]
    Image.blend(picture, Image.fromarray(colors), 0.5).save(out)
    found, counts = np.unique(np.asarray(labels), return_counts=True)
    for label, count in sorted(zip(found, counts, strict=True), key=lambda pair: -pair[1]):
        print(f'class {label}: {100 * count / counts.sum():.1f} % of the pixels')


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
