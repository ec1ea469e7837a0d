"""tools/predict.py on tiny images and a tiny video, against what the toolboxes' own functions predict."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmseg.apis import inference_model, init_model
from mmseg.datasets import ADE20KDataset
from PIL import Image
from pycocotools.coco import COCO

from mmiformer.engine.config import merge_options
from mmiformer.inference.predictor import Predictor

from ..helpers import randomize
from .command import REPO, run
from .in_process import call

MASK_RCNN = REPO / 'configs/mask_rcnn/iformer_t_1x.py'
SEM_FPN = REPO / 'configs/sem_fpn/iformer_t_40k.py'
SMALL = 'test_dataloader.dataset.pipeline.1.scale=(96,64)'
DETECTOR = {
    'model.test_cfg.rpn.max_per_img': 20,
    'model.test_cfg.rcnn.score_thr': 0.0,  # random weights are sure of nothing
    'model.test_cfg.rcnn.max_per_img': 5,
}
BROKEN, STOPPED = 3, 130  # exit statuses


def config(path: Path, **options) -> Config:
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    merge_options(cfg, {'test_dataloader.dataset.pipeline.1.scale': (96, 64), **options})
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # the one that mmseg's functions use
    return cfg


def random_weights(path: Path, target: Path, thorough: bool) -> Path:
    cfg = config(path)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if thorough:
        randomize(model)
    else:
        model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), target)
    return target


def draw_image(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def inputs(tmp_path_factory) -> Path:
    """Two images of one name, one in a subfolder, two broken files and a video of three frames."""
    folder = tmp_path_factory.mktemp('inputs')
    for seed, (name, shape) in enumerate({'a/x.jpg': (50, 70), 'b/x.png': (90, 40), 'b/c/y.JPG': (33, 47)}.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, draw_image(*shape, seed))[1].tobytes())
    whole = (folder / 'a/x.jpg').read_bytes()
    (folder / 'b/cut.jpg').write_bytes(whole[: len(whole) * 2 // 3])
    (folder / 'b/text.png').write_text('no image')
    (folder / 'b/notes.txt').write_text('is left aside')
    video = cv2.VideoWriter(str(folder / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    assert video.isOpened()
    for seed in range(3):
        video.write(draw_image(48, 64, seed))
    video.release()
    return folder


def frames(path: Path) -> list[np.ndarray]:
    video, found = cv2.VideoCapture(str(path)), []
    while (frame := video.read())[0]:
        found.append(frame[1])
    return found


def sources(inputs: Path, predictions: dict) -> dict[str, tuple[dict, np.ndarray]]:
    """The images of `predictions.json`, by file and frame, with their pixels."""
    assert Path(predictions['info']['root']) == inputs
    clip = frames(inputs / 'clip.avi')
    return {
        f'{image["file_name"]}:{image.get("frame_id", "")}': (
            image,
            clip[image['frame_id']] if 'frame_id' in image else cv2.imread(str(inputs / image['file_name'])),
        )
        for image in predictions['images']
    }


def check_pictures(inputs: Path, out: Path) -> None:
    pictures = {str(path.relative_to(out / 'pictures')) for path in (out / 'pictures').rglob('*.*')}
    assert pictures == {'a/x.jpg', 'b/x.jpg', 'b/c/y.jpg', 'clip.mp4'}
    pairs = [(cv2.imread(str(out / 'pictures/b/x.jpg')), cv2.imread(str(inputs / 'b/x.png')))]
    pairs += zip(frames(out / 'pictures/clip.mp4'), frames(inputs / 'clip.avi'), strict=True)
    assert len(pairs) == 4
    for drawn, plain in pairs:
        assert drawn.shape == plain.shape
        assert np.abs(drawn.astype(int) - plain).mean() > 5  # something is drawn, far more than compression changes


def test_detection(inputs, tmp_path):
    weights = random_weights(MASK_RCNN, tmp_path / 'weights.pth', thorough=False)
    options = [f'{key}={value}' for key, value in DETECTOR.items()]
    command = (MASK_RCNN, weights, inputs / 'a', inputs / 'b', inputs / '*.avi', inputs / 'a/x.jpg', '--out', 'out')
    printed = run('predict', *command, '--score-thr', 0, '--cfg-options', SMALL, *options, cwd=tmp_path, status=BROKEN)
    assert '4 of 6 predicted' in printed
    for name in ('b/cut.jpg', 'b/text.png'):
        assert f'skipped: {inputs / name} cannot be read: ' in printed
    check_pictures(inputs, tmp_path / 'out')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['pictures', 'predictions.json']

    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    coco = COCO(str(tmp_path / 'out/predictions.json'))
    assert coco.cats[1]['name'] == 'person' and coco.cats[90]['name'] == 'toothbrush' and len(coco.cats) == 80
    assert coco.loadRes(predictions['annotations']).getAnnIds() == coco.getAnnIds() != []
    images = sources(inputs, predictions)
    expected = {'a/x.jpg:', 'b/x.png:', 'b/c/y.JPG:', 'clip.avi:0', 'clip.avi:1', 'clip.avi:2'}
    assert images.keys() == expected and len(predictions['images']) == 6

    model = init_detector(config(MASK_RCNN, **DETECTOR), str(weights), palette='coco', device='cpu')
    for image, pixels in images.values():
        assert pixels.shape[:2] == (image['height'], image['width'])
        found = coco.loadAnns(coco.getAnnIds(image['id']))
        instances = inference_detector(model, pixels).pred_instances
        assert len(found) == len(instances) > 0
        names = [coco.cats[detection['category_id']]['name'] for detection in found]
        assert names == [CocoDataset.METAINFO['classes'][label] for label in instances.labels]
        corners = torch.tensor([detection['bbox'] for detection in found])
        corners[:, 2:] += corners[:, :2]
        torch.testing.assert_close(corners, instances.bboxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(torch.tensor([d['score'] for d in found]), instances.scores, rtol=0, atol=1e-6)
        for detection, mask in zip(found, instances.masks.numpy(), strict=True):
            assert np.array_equal(coco.annToMask(detection), mask) and detection['area'] == mask.sum()


def test_segmentation(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = random_weights(SEM_FPN, tmp_path / 'weights.pth', thorough=True)
    command = (SEM_FPN, weights, inputs, '--out', 'out', '--cfg-options', SMALL)
    assert call(monkeypatch, 'predict', *command) == BROKEN
    assert '4 of 6 predicted' in capsys.readouterr().out
    check_pictures(inputs, tmp_path / 'out')

    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [category['name'] for category in predictions['categories']] == list(ADE20KDataset.METAINFO['classes'])
    images = sources(inputs, predictions)
    assert len(images) == len(predictions['images']) == 6
    assert images['clip.avi:2'][0]['label_file'] == 'labels/clip.avi/000002.png'
    model = init_model(config(SEM_FPN), str(weights), device='cpu')
    seen = set()
    for image, pixels in images.values():
        label = Image.open(tmp_path / 'out' / image['label_file'])
        answer = inference_model(model, pixels).seg_logits.data.argmax(0).numpy()
        assert label.mode == 'P' and np.array_equal(np.asarray(label), answer)
        colors = np.array(ADE20KDataset.METAINFO['palette'])[answer]
        assert np.array_equal(np.asarray(label.convert('RGB')), colors)
        seen |= set(np.unique(answer))
    assert len(seen) > 3

    plain = np.asarray(Image.open(tmp_path / 'out' / images['b/x.png:'][0]['label_file']))
    for dtype, same in (('fp32', 0.99), ('bf16', 0.9)):
        options = ('--out', dtype, '--deploy', '--dtype', dtype, '--cfg-options', SMALL)
        assert call(monkeypatch, 'predict', SEM_FPN, weights, inputs / 'b/x.png', *options) is None
        (file,) = (tmp_path / dtype / 'labels').rglob('*.png')
        assert np.mean(np.asarray(Image.open(file)) == plain) > same

    # Stopped in the second of three images: the first is there, and so is what the run before wrote of others.
    predicted = []

    def stop_in_the_second(self, image):
        if predicted:
            raise KeyboardInterrupt
        predicted.append(image)
        return predict(self, image)

    predict = Predictor.predict
    monkeypatch.setattr(Predictor, 'predict', stop_in_the_second)
    images = [inputs / name for name in ('b/x.png', 'a/x.jpg', 'b/c/y.JPG')]
    command = (SEM_FPN, weights, *images, '--out', 'out', '--overwrite', '--cfg-options', SMALL)
    assert call(monkeypatch, 'predict', *command) == STOPPED
    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [image['file_name'] for image in predictions['images']] == ['b/x.png']
    check_pictures(inputs, tmp_path / 'out')


GRAY = (
    'test_dataloader.dataset.pipeline.0.color_type=grayscale',
    'model.backbone.in_channels=1',
    'model.data_preprocessor.mean=[116.0]',
    'model.data_preprocessor.std=[57.0]',
    'model.data_preprocessor.bgr_to_rgb=False',
)


@pytest.mark.parametrize('parent', [MASK_RCNN, SEM_FPN])
def test_networks_of_one_channel(parent, inputs, tmp_path, monkeypatch, capsys):
    """Gray images and frames, and odd pictures among them: an image of 5000 x 1 is resized to nothing."""
    monkeypatch.chdir(tmp_path)
    options = {key: value for key, value in DETECTOR.items() if parent == MASK_RCNN}
    gray = {'model.backbone.in_channels': 1, 'model.data_preprocessor.mean': [116.0]}
    gray.update({'model.data_preprocessor.std': [57.0], 'model.data_preprocessor.bgr_to_rgb': False})
    cfg = config(parent, **options, **gray)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), 'weights.pth')

    photos = tmp_path / 'photos'
    photos.mkdir()
    plain = cv2.cvtColor(draw_image(50, 70, 0), cv2.COLOR_BGR2GRAY)
    cv2.imwrite('photos/a.png', plain)
    cv2.imwrite('photos/odd.png', plain[:1].repeat(100, 1)[:, :5000])
    cv2.imwrite('photos/wide.png', plain[:2].repeat(1000, 1))
    command = (parent, 'weights.pth', photos, inputs / 'clip.avi', '--out', 'out', '--score-thr', 1, '--cfg-options')
    given = (*GRAY, SMALL, *(f'{key}={value}' for key, value in options.items()))
    assert call(monkeypatch, 'predict', *command, *given) == BROKEN
    printed = capsys.readouterr()
    assert '2 of 4 predicted' in printed.out
    for name, size in (('odd', '5000 x 1'), ('wide', '70000 x 2')):
        assert printed.err.count(f'skipped: {photos / name}.png ({size}) cannot be ') == 1
    (picture,) = Path('out').rglob('a.jpg')
    drawn = cv2.imread(str(picture)).astype(int)
    if parent == MASK_RCNN:  # no score is above 1, so nothing is drawn
        assert np.abs(drawn - plain[..., None]).mean() < 4
    else:
        (label_file,) = Path('out').rglob('a.png')
        label = np.asarray(Image.open(label_file))
        blend = 0.4 * plain[..., None] + 0.6 * np.array(ADE20KDataset.METAINFO['palette'])[label][..., ::-1]
        assert np.median(np.abs(drawn - blend)) < 6
    names = [image['file_name'] for image in json.loads(Path('out/predictions.json').read_text())['images']]
    assert [Path(name).name for name in names] == ['a.png', 'clip.avi', 'clip.avi', 'clip.avi']


class Intruder:
    def __reduce__(self):
        return os.mkdir, ('intruded',)


@pytest.mark.parametrize(
    ('given', 'options', 'message'),
    [
        ([], ['nowhere.jpg'], 'nowhere.jpg: there is no such file or folder'),
        ([], ['*.jpg'], '*.jpg matches no image (.jpg'),
        ([], ['empty'], 'empty holds no image (.jpg'),
        (['a.jpg'], ['empty/notes.txt'], 'empty/notes.txt is neither an image (.jpg'),
        (['a.jpg'], ['a.jpg', '--score-thr', '30'], '--score-thr 30.0 must lie between 0 and 1'),
        (['a.jpg'], ['a.jpg', '--out', 'empty'], '--out empty is there and not empty'),
        (['a.jpg'], ['a.jpg', '--out', 'a.jpg'], '--out a.jpg is a file'),
        (['pictures/a.jpg'], ['pictures/a.jpg', '--out', '.', '--overwrite'], 'a.jpg lies among the results'),
        (['a.jpg'], ['a.jpg', '--device', 'abacus'], '--device abacus: '),
        (['a.jpg'], ['a.jpg', '--dtype', 'bf16'], '--dtype bf16 is for the deploy form: add --deploy'),
        (['a.jpg'], ['a.jpg', '--cfg-options', 'modle.x=1'], "the config has no 'modle'"),
        (['a.jpg'], ['a.jpg'], 'intruder.pth is refused'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(given, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/notes.txt').write_text('no image')
    for name in given:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), draw_image(20, 20, 0))
    harmless = 'abacus' in options
    torch.save(dict(state_dict={}, meta={} if harmless else Intruder()), tmp_path / 'intruder.pth')
    before = sorted(tmp_path.rglob('*'))
    # Of two --out the last counts.
    said = call(monkeypatch, 'predict', SEM_FPN, 'intruder.pth', '--out', 'out', *options[1:], '--', options[0])
    assert said.startswith('error: ') and message in said
    assert sorted(tmp_path.rglob('*')) == before


def test_classes_must_be_those_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite(str(tmp_path / 'a.jpg'), draw_image(20, 20, 0))
    random_weights(SEM_FPN, tmp_path / 'weights.pth', thorough=False)
    checkpoint = torch.load(tmp_path / 'weights.pth')
    checkpoint['meta'] = dict(dataset_meta=dict(classes=('cat', 'dog'), palette=[[0, 0, 0], [9, 9, 9]]))
    torch.save(checkpoint, tmp_path / 'weights.pth')
    said = call(monkeypatch, 'predict', SEM_FPN, 'weights.pth', 'a.jpg', '--out', 'out')
    assert 'decode_head.num_classes=150, but 2 classes: cat, dog' in said
    said = call(monkeypatch, 'predict', MASK_RCNN, 'weights.pth', 'a.jpg', '--out', 'out')
    assert 'roi_head.bbox_head.num_classes=80, roi_head.mask_head.num_classes=80, but 2 classes: cat, dog' in said
    assert not (tmp_path / 'out').exists()
