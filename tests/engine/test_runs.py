from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmiformer.engine import runs
from mmiformer.engine.runs import find_checkpoint, read_checkpoint, set_work_dir, settle_run, settle_seed
from mmiformer.errors import MissingFile, UserError


def test_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'net.py').write_text("default_scope = 'mmdet'")
    cfg = Config.fromfile('net.py')
    assert str(set_work_dir(cfg, None)) == cfg.work_dir == 'work_dirs/net'
    cfg.pop('work_dir')
    assert str(set_work_dir(cfg, None, 'test')) == 'work_dirs/net/test'
    cfg.work_dir = 'mine'
    assert str(set_work_dir(cfg, None)) == 'mine'
    assert str(set_work_dir(cfg, 'asked', 'test')) == 'asked'
    with pytest.raises(UserError, match='net.py is a file'):
        set_work_dir(cfg, 'net.py')
    assert not (tmp_path / 'work_dirs').exists()


def test_a_new_run_never_writes_over_an_old_one(tmp_path):
    assert find_checkpoint(None, tmp_path / 'nowhere') is None
    assert find_checkpoint(None, tmp_path) is None
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(UserError, match=r'epoch_1.pth.*write over.*--resume'):
        find_checkpoint(None, tmp_path)
    with pytest.raises(UserError, match=r'no checkpoint .* is whole .*epoch_1.pth.*remove'):
        find_checkpoint('auto', tmp_path)


def save(*paths: Path) -> None:
    for path in paths:
        torch.save(dict(state_dict=dict(weight=torch.rand(1000))), path)


def test_the_last_checkpoint_is_found_even_in_a_moved_run(tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    # A run that went on from an earlier checkpoint, iteration 2, has later ones of its first try.
    save(*(run / f'iter_{number}.pth' for number in (2, 9, 10, 12)), run / 'best_mIoU_iter_12.pth')
    (run / 'last_checkpoint').write_text('/was/here/once/iter_10.pth')
    assert find_checkpoint('auto', run) == run / 'iter_10.pth'
    assert find_checkpoint(str(run / 'iter_2.pth'), run) == run / 'iter_2.pth'
    with pytest.raises(MissingFile, match='nosuch.pth'):
        find_checkpoint(str(run / 'nosuch.pth'), run)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, caplog):
    files = [tmp_path / f'epoch_{number}.pth' for number in (8, 9, 10, 11)]
    save(*files, tmp_path / 'interrupted.pth')
    assert find_checkpoint('auto', tmp_path) == tmp_path / 'interrupted.pth'  # a run's last, until the next is whole
    (tmp_path / 'last_checkpoint').write_text(str(files[3]))
    files[3].unlink()
    with files[2].open('r+b') as file:
        file.truncate(3000)
    content = bytearray(files[1].read_bytes())
    content[content.index(b'data/0') + 1000] ^= 1  # a bit of a weight
    files[1].write_bytes(content)
    assert find_checkpoint('auto', tmp_path) == files[0]
    said = caplog.text
    assert 'epoch_11.pth, which is not there' in said and 'epoch_10.pth is damaged' in said
    assert 'epoch_9.pth is damaged (the checksum of ' in said and 'interrupted' not in said


@pytest.mark.parametrize('content', [b'', bytes(20), b'\xff\xfe garbage'])
def test_a_damaged_record_of_the_last_checkpoint(content, tmp_path, caplog):
    save(tmp_path / 'iter_9.pth', tmp_path / 'iter_10.pth')
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert find_checkpoint('auto', tmp_path) == tmp_path / 'iter_10.pth'
    assert ('last_checkpoint is damaged' in caplog.text) == bool(content)


def test_nothing_to_resume(tmp_path):
    assert find_checkpoint('auto', tmp_path) is None


def test_only_a_whole_model_is_a_checkpoint(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'w': torch.ones(2)}}, path)
    assert torch.equal(read_checkpoint(path)['state_dict']['w'], torch.ones(2))
    torch.save({'model': {}, 'args': None}, path)
    with pytest.raises(UserError, match='no state_dict, but model, args'):
        read_checkpoint(path)


def test_a_seed_that_is_no_number():
    with pytest.raises(UserError, match="randomness.seed='abc' must be a whole number"):
        settle_seed(Config(dict(randomness=dict(seed='abc'))))
    with pytest.raises(UserError, match=r'randomness.seed=\[3\] \(from the checkpoint\) must be a whole number'):
        settle_seed(Config(), None, dict(meta=dict(seed=[3])))


def test_seed():
    cfg = Config()
    drawn = settle_seed(cfg)
    assert cfg.randomness == dict(seed=drawn) and settle_seed(cfg) == drawn
    assert settle_seed(cfg, 5) == cfg.randomness.seed == 5
    cfg.randomness = dict(seed=3, deterministic=True)
    recorded = dict(meta=dict(seed=8))
    assert settle_seed(cfg, None, recorded) == 8 and cfg.randomness == dict(seed=8, deterministic=True)
    assert settle_seed(cfg, 8, recorded) == 8
    with pytest.raises(UserError, match='--seed 9: .* has the seed 8'):
        settle_seed(cfg, 9, recorded)
    assert settle_seed(cfg, 9, dict(meta=dict(seed=None))) == 9
    assert settle_seed(Config(), 0) == 0
    assert len({settle_seed(Config()) for _ in range(5)}) > 1


def test_the_seed_is_settled_among_the_processes_and_the_batch_counts_them(monkeypatch):
    done = []
    for name in ('join_processes', 'settle_seed'):
        monkeypatch.setattr(runs, name, lambda cfg, *args, name=name: done.append((name, *args)))
    settle_run(Config(), 'slurm', 1, 7, {})
    assert done == [('join_processes', 'slurm', 1), ('settle_seed', 7, {})]
