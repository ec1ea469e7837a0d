"""What image files are: whole or not, how large, turned by their EXIF orientation or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import mmcv
from PIL import Image

from ..damage import is_cut, reason
from ..errors import few
from .dataset import DataConfig
from .findings import Finding
from .reading import Sample

ORIENTATION = 0x0112  # EXIF's tag: 1 is upright, from 5 on width and height change places
TURNED_BY_OPENCV = ('JPEG', 'MPO', 'PNG')
DEEP = ('I', 'I;16', 'I;16B', 'I;16L', 'F')  # PIL's modes of more than 8 bits


@dataclass(frozen=True)
class ImageLook:
    """What an image file is.

    Attributes:
        fault: Why it cannot be read, '' if it can.
        stored: Width and height in the file.
        size: Width and height as the pipeline reads it.
        turned: Whether the pipeline turns or mirrors it.
        gray: Whether it has one channel.
        deep: Whether it has more than 8 bits.
    """

    fault: str = ''
    stored: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    gray: bool = False
    deep: bool = False


@dataclass(frozen=True)
class ImageLoader:
    """How a pipeline reads images: arguments of mmcv's LoadImageFromFile."""

    color_type: str = 'color'
    imdecode_backend: str = 'cv2'

    @staticmethod
    def of(data: DataConfig) -> ImageLoader | None:
        """The loader of a data set's pipeline; None if it is none of mmcv's."""
        if not data.config.get('pipeline'):
            return ImageLoader()
        for transform in data.transforms('LoadImageFromFile'):
            given = {name: transform[name] for name in ('color_type', 'imdecode_backend') if transform.get(name)}
            return ImageLoader(**given)
        return None

    def turns(self, format: str | None) -> bool:
        """Whether it turns images of a format as their EXIF orientation says."""
        if format == 'TIFF':  # both libraries always do
            return self.imdecode_backend in ('cv2', 'pillow')
        if self.color_type not in ('color', 'grayscale'):
            return False
        return self.imdecode_backend == 'pillow' or self.imdecode_backend == 'cv2' and format in TURNED_BY_OPENCV

    def look(self, path: str, whole: bool = False) -> ImageLook:
        """Look at an image's header and end, or decode it as a whole."""
        try:
            if not os.path.getsize(path):
                return ImageLook('it has 0 bytes')
            if is_cut(path):
                return ImageLook('it is cut off')
            if whole:
                image = mmcv.imread(path, self.color_type, backend=self.imdecode_backend)
                if image is None:
                    return ImageLook('it is no image that OpenCV can read')
            with Image.open(path) as image:
                # Pillow opens colors of 16 bits as those of 8; how they are stored stands in the tiles of the file.
                deep = image.mode in DEEP or image.format in ('PNG', 'TIFF') and ';16' in str(image.tile)
                # In a PNG the tag may follow the pixels, which Pillow would decode to get there.
                tagged = whole or image.format != 'PNG' or 'exif' in image.info
                orientation = image.getexif().get(ORIENTATION, 1) if tagged else 1
                stored = image.size
                if image.format == 'TIFF' and orientation > 4:
                    stored = stored[::-1]  # Pillow gives the turned size of this format alone
                turned = orientation in range(2, 9) and self.turns(image.format)
                size = stored[::-1] if turned and orientation > 4 else stored
                return ImageLook('', stored, size, turned, image.mode in ('1', 'L', *DEEP), deep)
        except Exception as error:  # decoders raise all kinds
            return self._without_pillow(path, error)

    def _without_pillow(self, path: str, error: Exception) -> ImageLook:
        """Look at an image that Pillow does not read, and perhaps the pipeline does."""
        try:
            image = None if 'truncated' in str(error) else mmcv.imread(path, backend=self.imdecode_backend)
        except Exception:
            image = None
        if image is None:
            return ImageLook(reason(error))
        return ImageLook(stored=image.shape[1::-1], size=image.shape[1::-1])


def check_images(
    paths: Sequence[str],
    sizes: Sequence[tuple | None],
    loader: ImageLoader,
    where: str,
    reader: Sample,
    masks: bool = False,
) -> Iterator[Finding]:
    """Look at the images of a data set.

    Args:
        paths: The files.
        sizes: Width and height that the annotations give of each, None where they do not.
        loader: How the pipeline reads them.
        where: The data set's place in the config.
        reader: Which of them to look at.
        masks: Whether the annotations have pixels, and cannot be read in another size.
    """
    picked = reader.pick(list(zip(paths, sizes, strict=True)))
    looks = reader.look(partial(loader.look, whole=reader.whole), [path for path, _ in picked], where)
    among = reader.among(picked, paths, 'images')
    images = [(path, look, size) for (path, size), look in zip(picked, looks, strict=True)]
    yield from judge_images(images, where, among, masks=masks)


def judge_images(
    images: Sequence[tuple[str, ImageLook, tuple | None]],
    where: str,
    among: str,
    truth: str = '`width` and `height` of the annotations',
    masks: bool = False,
) -> Iterator[Finding]:
    """What is wrong with images.

    Args:
        images: (file, what it is, width and height that the annotations give of it or None).
        where: The data set's place in the config.
        among: What was looked at, such as '200 images'.
        truth: What says the size.
        masks: Whether the annotations have pixels, and cannot be read in another size.
    """
    good = [(path, look, size) for path, look, size in images if not look.fault]
    broken = {path: f'{path} ({look.fault})' for path, look, _ in images if look.fault}
    # Where the annotated size is the turned one and not the stored one, the annotations are for the turned pixels.
    turned = [(path, look, size) for path, look, size in good if look.turned and not look.stored != size == look.size]
    stored = sum(look.stored == size != look.size for _, look, size in turned)
    unfit = {
        path: f'{path} is {look.size[0]} x {look.size[1]}, not {size[0]:g} x {size[1]:g}'
        for path, look, size in good
        if size and size != look.size and not (look.turned and size == look.stored)
    }
    if broken:
        yield Finding(
            'error',
            where,
            f'{len(broken)} of {among} cannot be read: {few(broken.values(), 3)}',
            'Restore or remove them.',
            tuple(broken),
            len(broken) / len(images),
        )
    if unfit:
        yield Finding(
            'error',
            where,
            f'{len(unfit)} of {among} are not of the size that {truth} say: {few(unfit.values(), 3)}',
            'Use the images that were annotated, or annotations of these.',
            tuple(unfit),
            len(unfit) / len(images),
        )
    if turned:
        paths = tuple(path for path, _, _ in turned)
        yield Finding(
            'error' if masks and stored else 'warning',
            where,
            f'{len(turned)} of {among} have an EXIF orientation, and the pipeline turns them, so that annotations of '
            'the pixels as stored do not fit'
            + (f' ({stored} are annotated so, by their size)' if stored else '')
            + f': {few(paths, 3)}',
            "If they were annotated as stored, set color_type='color_ignore_orientation' in LoadImageFromFile of all "
            'pipelines, or remove the tag from the files (exiftool -Orientation= FILES).',
            paths,
        )
    if gray := sum(look.gray for _, look, _ in good):
        yield Finding('note', where, f'{gray} of {among} are gray')
    if deep := tuple(path for path, look, _ in good if look.deep):
        yield Finding(
            'warning',
            where,
            f'{len(deep)} of {among} have more than 8 bits, of which the pipeline keeps the 8 highest: {few(deep, 3)}',
            'If they use fewer bits than they have, such as 12 of 16, they are nearly black: rescale them to 8 bits.',
            deep,
        )
