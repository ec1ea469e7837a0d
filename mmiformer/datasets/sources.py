"""Where COCO, ADE20K and ImageNet come from, and what belongs to them: data alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Archive:
    """A zip archive of a data set.

    Attributes:
        path: Below the base URL; the last part is the file's name.
        size: Bytes.
        unpacked: Bytes that its files take, roughly: enough to tell whether the disk has room.
        holds: {pattern of file names: how many}, below the data set's root.
        sha256: Hash of the archive where one has been published.
        strip: Leading folder of the archive that the data set's root stands for.
        training_only: Whether evaluation can do without it.
    """

    path: str
    size: int
    unpacked: int
    holds: dict[str, int]
    sha256: str | None = None
    strip: str = ''
    training_only: bool = False

    @property
    def name(self) -> str:
        return self.path.rsplit('/', 1)[-1]


@dataclass(frozen=True)
class Split:
    """A part of a data set: its images' folder, its annotation file or label folder, and how many images it has."""

    name: str
    images: str
    annotations: str
    count: int


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        key: What `tools/prepare_data.py` calls it.
        title: What people call it.
        page: Its home page.
        base_url: Where the archives are.
        variable: Environment variable of the configs that moves it.
        default_root: Where the configs look if the variable is not set, relative to the current directory.
        archives: In the order in which they are fetched.
        splits: Training first.
    """

    key: str
    title: str
    page: str
    base_url: str
    variable: str
    default_root: str
    archives: tuple[Archive, ...]
    splits: tuple[Split, ...]

    def count(self, path: str) -> int | None:
        """How many images the part has to which a folder of images, or an annotation file, belongs by its name."""
        name = PurePath(path).name
        for split in self.splits:
            if name and name in (PurePath(split.images).name, PurePath(split.annotations).name):
                return split.count
        return None


# Plain http: the certificate of images.cocodataset.org is that of the storage behind it. The hashes make up for it.
COCO = Source(
    key='coco',
    title='COCO 2017',
    page='https://cocodataset.org/#download',
    base_url='http://images.cocodataset.org',
    variable='COCO_ROOT',
    default_root='data/coco',
    archives=(
        Archive(
            'annotations/annotations_trainval2017.zip',
            size=252_907_541,
            unpacked=820_000_000,
            holds={'annotations/instances_train2017.json': 1, 'annotations/instances_val2017.json': 1},
            sha256='113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268',
        ),
        Archive(
            'zips/val2017.zip',
            size=815_585_330,
            unpacked=830_000_000,
            holds={'val2017/*.jpg': 5000},
            sha256='4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
        ),
        Archive(
            'zips/train2017.zip',
            size=19_336_861_798,
            unpacked=19_600_000_000,
            holds={'train2017/*.jpg': 118_287},
            sha256='69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929',
            training_only=True,
        ),
    ),
    splits=(
        Split('training', 'train2017', 'annotations/instances_train2017.json', 118_287),
        Split('validation', 'val2017', 'annotations/instances_val2017.json', 5000),
    ),
)

# The SceneParse150 challenge set, not the full ADE20K with its 3000 object names.
ADE20K = Source(
    key='ade20k',
    title='ADE20K (SceneParse150)',
    page='http://sceneparsing.csail.mit.edu',
    base_url='http://data.csail.mit.edu/places/ADEchallenge',
    variable='ADE_ROOT',
    default_root='data/ade/ADEChallengeData2016',
    archives=(
        Archive(
            'ADEChallengeData2016.zip',
            size=967_382_037,
            unpacked=1_100_000_000,
            holds={
                'images/training/*.jpg': 20_210,
                'images/validation/*.jpg': 2000,
                'annotations/training/*.png': 20_210,
                'annotations/validation/*.png': 2000,
            },
            strip='ADEChallengeData2016/',
        ),
    ),
    splits=(
        Split('training', 'images/training', 'annotations/training', 20_210),
        Split('validation', 'images/validation', 'annotations/validation', 2000),
    ),
)

# To be downloaded by hand, with an account.
IMAGENET = Source(
    key='imagenet',
    title='ImageNet-1K (ILSVRC 2012)',
    page='https://image-net.org/download-images',
    base_url='',
    variable='IMAGENET_ROOT',
    default_root='data/imagenet',
    archives=(
        Archive(
            'ILSVRC2012_img_train.tar',
            size=147_897_477_120,
            unpacked=147_000_000_000,
            holds={'train/*': 1000},
            training_only=True,
        ),
        Archive('ILSVRC2012_img_val.tar', size=6_744_924_160, unpacked=6_700_000_000, holds={'val/*': 1000}),
        Archive('ILSVRC2012_devkit_t12.tar.gz', size=2_568_145, unpacked=0, holds={}),
    ),
    splits=(Split('training', 'train', '', 1_281_167), Split('validation', 'val', '', 50_000)),
)

SOURCES = {source.key: source for source in (COCO, ADE20K)}
