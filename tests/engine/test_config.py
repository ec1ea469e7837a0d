from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmiformer.engine.config import (
    DICTS,
    FILLED,
    SEVERAL,
    import_toolbox,
    merge_options,
    open_config,
    read_config,
    require,
    set_data_root,
)
from mmiformer.errors import MissingFile, UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
MASK_RCNN = CONFIGS / 'mask_rcnn' / 'iformer_t_1x.py'
SEM_FPN = CONFIGS / 'sem_fpn' / 'iformer_t_40k.py'


@pytest.fixture
def cfg() -> Config:
    return read_config(MASK_RCNN)


@pytest.mark.parametrize('name', ['configs/mask_rcn/iformer_t_1x.py', 'iformer_t_1.py', 'iformer_t_1x'])
def test_a_mistyped_config_is_answered_with_the_one_meant(name):
    with pytest.raises(MissingFile, match='did you mean .*mask_rcnn/iformer_t_1x.py'):
        read_config(name)


def test_of_configs_with_one_name_that_of_the_task_comes_first():
    with pytest.raises(
        FileNotFoundError, match='did you mean [^ ]*mask_rcnn/iformer_t_shapes.py or .*sem_fpn/iformer_t'
    ):
        read_config('configs/mask_rcnn/iformer_t_shape.py')


def test_no_config_comes_near():
    with pytest.raises(MissingFile) as error:
        read_config('/nowhere/quite_something_else.py')
    assert str(error.value) == 'there is no config /nowhere/quite_something_else.py'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(', 'SyntaxError'),
        ("_base_ = './nosuch.py'", 'FileNotFoundError'),
        ('model = dict(x=unknown)', 'NameError'),
        ('model = dict()', 'default_scope=None'),
        ("default_scope = 'mmpose'", "default_scope='mmpose'"),
    ],
)
def test_a_config_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('part', [*FILLED, *DICTS, *SEVERAL])
def test_parts_of_another_kind(part, tmp_path):
    """In a config that inherits, where they take the place of a whole dict."""
    path = tmp_path / 'mine.py'
    for value in ("'x'", 3, True, [3], *(['dict(_delete_=True)'] if part in FILLED else [])):
        path.write_text(f'_base_ = {str(MASK_RCNN)!r}\n{part} = {value}\n')
        with pytest.raises(UserError, match=rf'^config {path}: {part}=.* must be a dict'):
            read_config(path)
    path.write_text(f'_base_ = {str(MASK_RCNN)!r}\n{part} = None\n')
    read_config(path)


@pytest.mark.parametrize(
    ('text', 'meant'),
    [
        ('modle = dict(backbone=dict(window_size=4))', 'model'),
        ('train_dataloder = dict(batch_size=1)', 'train_dataloader'),
        ('optim_wraper = dict(clip_grad=None)', 'optim_wrapper'),
        ('custom_hook = []', 'custom_hooks'),
        ('load_form = "w.pth"', 'load_from'),
    ],
)
def test_mistyped_keys_of_a_config_that_inherits(text, meant, tmp_path):
    (tmp_path / 'mine.py').write_text(f'_base_ = {str(MASK_RCNN)!r}\nmy_size = train_size = 3\n{text}\n')
    with pytest.raises(UserError, match=rf'mine.py: nothing reads .*; did you mean {meant}\?'):
        read_config(tmp_path / 'mine.py')


def test_variables_of_a_config(tmp_path, caplog):
    """Others are made of them, so a name that begins like a key is no mistake for sure."""
    text = f'_base_ = {str(MASK_RCNN)!r}\nval_evaluator_abs = dict()\nmodels = train_pipelines = []\n'
    text += "evaluator = dict(type='CocoMetric')\nval_evaluator = test_evaluator = dict(evaluator, metric='bbox')\n"
    text += 'hook = custom_hook = []\ncustom_hooks = custom_hook\n'
    (tmp_path / 'mine.py').write_text(text)
    read_config(tmp_path / 'mine.py')
    assert [record.message.rpartition('; ')[2] for record in caplog.records] == [
        'did you mean val_evaluator?',
        'did you mean model?',
    ]


@pytest.mark.parametrize('text', ['load_from = [3]', 'load_from = True', 'default_scope = []'])
def test_what_is_no_text(text, tmp_path):
    (tmp_path / 'mine.py').write_text(f'_base_ = {str(MASK_RCNN)!r}\n{text}\n')
    with pytest.raises(UserError, match=f'mine.py: {re.escape(text.replace(" ", ""))}'):
        read_config(tmp_path / 'mine.py')


def test_options_can_make_them_of_another_kind():
    with pytest.raises(UserError, match='custom_hooks=3 must be a dict or a list of dicts'):
        open_config(MASK_RCNN, options={'custom_hooks': 3})


def test_a_metric_without_a_type(tmp_path):
    (tmp_path / 'mine.py').write_text(f"_base_ = {str(MASK_RCNN)!r}\nval_evaluator = [dict(metric='bbox')]\n")
    with pytest.raises(UserError, match='val_evaluator=.* has no type'):
        read_config(tmp_path / 'mine.py')


def test_options_are_applied(cfg, caplog):
    new = {'train_dataloader.batch_size': 7, 'param_scheduler.1.end': 3, 'model.test_cfg.rcnn.nms.iou_threshold': 0.6}
    merge_options(cfg, new)
    assert caplog.messages == []
    assert cfg.train_dataloader.batch_size == 7
    assert cfg.param_scheduler[1].end == 3 and cfg.param_scheduler[0].end == 500
    assert cfg.model.test_cfg.rcnn.nms == dict(type='nms', iou_threshold=0.6)


def test_new_keys_are_allowed_and_named(cfg, caplog):
    merge_options(cfg, {'optim_wrapper.clip_grad.max_norm': 1.0, 'randomness.seed': 3, 'compile': True})
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1.0) and cfg.randomness.seed == 3 and cfg.compile
    assert len(caplog.messages) == 3 and "no 'clip_grad' in optim_wrapper" in caplog.messages[0]


def test_another_word_is_no_slip(cfg):
    merge_options(cfg, {'model.roi_head.bbox_head.loss_cls.class_weight': [1.0] * 81})  # beside loss_weight
    assert len(cfg.model.roi_head.bbox_head.loss_cls.class_weight) == 81


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('trian_dataloader.batch_size', 'did you mean train_dataloader'),
        ('train_dataloader.bath_size', 'did you mean train_dataloader.batch_size'),
        ('model.test_cfg.rcnn.score_th', 'did you mean model.test_cfg.rcnn.score_thr'),
        ('train_dataloader.dataset.pipeline.2.scales', 'did you mean train_dataloader.dataset.pipeline.2.scale'),
        ('something', "the config has no 'something'; it has model, "),
        ('param_scheduler.2.end', "param_scheduler is a list of 2, '2' is not one"),
        ('param_scheduler.first.end', "'first' is not one"),
        ('log_level.x', "log_level is 'INFO', which has no keys"),
    ],
)
def test_slips_are_errors(cfg, key, message):
    before = cfg.pretty_text
    with pytest.raises(UserError, match=message) as error:
        merge_options(cfg, {key: 1})
    assert key in str(error.value) and cfg.pretty_text == before


def test_a_dict_stays_a_dict(cfg):
    for value in ('SGD', 3, ['SGD']):
        with pytest.raises(
            UserError, match='--cfg-options optim_wrapper.optimizer: it is a dict with the keys type, lr'
        ):
            merge_options(cfg, {'optim_wrapper.optimizer': value})
    merge_options(cfg, {'val_dataloader': None, 'test_dataloader.dataset.test_mode': False})
    assert cfg.val_dataloader is None


def test_what_a_run_needs(cfg):
    require(cfg, 'model', 'test_dataloader')
    cfg.test_dataloader = None
    with pytest.raises(UserError, match='has no test_dataloader, nothing, which this needs'):
        require(cfg, 'model', 'test_dataloader', 'nothing')


@pytest.mark.parametrize('root', ['/data/coco', '/data/coco/'])
def test_data_root_moves_everything(cfg, root):
    set_data_root(cfg, root)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.data_root, dataset.data_prefix.img[-5:]) == ('/data/coco/', '2017/')
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == '/data/coco/annotations/instances_val2017.json'


def test_data_root_of_wrapped_data_sets(monkeypatch):
    monkeypatch.delenv('ADE_ROOT', raising=False)
    cfg = read_config(SEM_FPN)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner, inner])
    )
    cfg.val_dataloader.dataset.data_root = 'data/ade/ADEChallengeData2016'  # the same place without its slash
    with pytest.raises(UserError, match='not one'):
        set_data_root(cfg, '/data/ade')
    cfg.val_dataloader.dataset.data_root += '/'
    set_data_root(cfg, '/data/ade')
    roots = [part.data_root for part in cfg.train_dataloader.dataset.dataset.datasets]
    assert roots == ['/data/ade/'] * 2 and cfg.val_dataloader.dataset.data_root == '/data/ade/'


def test_data_root_that_is_unclear(cfg):
    cfg.train_dataloader.dataset.data_root = 'elsewhere/'
    with pytest.raises(UserError, match='data_root .*elsewhere'):
        set_data_root(cfg, '/data')


def test_opened_as_the_command_line_says(caplog):
    options = {'train_dataloader.num_workers': 0, 'val_evaluator.ann_file': '/other.json', 'compile': False}
    cfg = open_config(str(MASK_RCNN), '/data/coco', options)
    assert cfg.train_dataloader.dataset.data_root == '/data/coco/' and cfg.val_evaluator.ann_file == '/other.json'
    # Without workers, torch refuses to keep them.
    assert not cfg.train_dataloader.persistent_workers and cfg.val_dataloader.persistent_workers
    assert caplog.messages == ["--cfg-options compile: new, the config had no 'compile'"]


def test_toolboxes_do_not_speak_of_their_makers_products():
    code = """if True:
        from mmengine.config import Config
        from mmiformer.engine.config import import_toolbox
        for toolbox in ('mmdet', 'mmseg'):
            import_toolbox(Config(dict(default_scope=toolbox)))
    """
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ''), done.stderr


def test_a_toolbox_that_is_missing(cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    # mmdet 3.3's data sets import them, too.
    with pytest.raises(UserError, match=r'(mmcv\.ops|mmdet\.datasets) cannot be imported.*mmcv\.ops.*docs/install.md'):
        import_toolbox(cfg)
