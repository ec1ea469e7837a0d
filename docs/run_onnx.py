"""Segment a photo with an exported network, without torch, OpenMMLab or this package.

python tools/export.py CONFIG --checkpoint WEIGHTS --to onnx --what segmentor --image --out exports
python docs/run_onnx.py exports/NETWORK.onnx photo.jpg segmented.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def side(length: int, fixed: int | str) -> int:
    """The network's own side; of one for all sizes (--dynamic) the multiple of 256 that is next to the photo's."""
    return fixed if isinstance(fixed, int) else max(1, round(length / 256)) * 256


def main(network: str, source: str, target: str) -> None:
    session = onnxruntime.InferenceSession(network, providers=['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    classes, palette = json.loads(meta['classes']), np.array(json.loads(meta['palette']), np.uint8)
    photo = ImageOps.exif_transpose(Image.open(source)).convert('RGB')
    height, width = (side(*pair) for pair in zip(photo.size[::-1], session.get_inputs()[0].shape[2:], strict=True))
    pixels = np.asarray(photo.resize((width, height)), np.float32)  # (H, W, 3), 0 to 255; the network normalizes
    [labels] = session.run(['labels'], {'image': pixels.transpose(2, 0, 1)[None]})  # (1, H, W)
    colors = Image.fromarray(palette[labels[0]]).resize(photo.size, Image.Resampling.NEAREST)
    Image.blend(photo, colors, 0.6).save(target)
    for label, number in zip(*np.unique(labels, return_counts=True), strict=True):
        print(f'{classes[label]:20} {100 * number / labels.size:5.1f} %')


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit('usage: python docs/run_onnx.py NETWORK.onnx PHOTO PICTURE')
    main(*sys.argv[1:])
