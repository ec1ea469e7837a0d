"""How every command line ends."""

from __future__ import annotations

import json
import logging
import signal
from argparse import ArgumentParser

import pytest
import torch

from mmiformer.engine.cli import KeyValues, command, resume_advice
from mmiformer.engine.notes import keep_notes, log_notes
from mmiformer.engine.stopping import Stopped
from mmiformer.errors import UserError


def ending(error: BaseException) -> str | int | None:
    """The exit code, or the message in its place, of a tool whose `main` raises `error`."""

    @command('start again')
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


def test_what_the_user_can_fix_is_one_message():
    assert ending(UserError('--vis -1 must not be negative')) == 'error: --vis -1 must not be negative'
    assert ending(OSError(28, 'No space left on device')) == 'error: [Errno 28] No space left on device'


def test_ctrl_c(capsys):
    assert ending(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == '\nstopped: start again\n'


def test_a_stopped_training_tells_what_resumes_it(monkeypatch):
    monkeypatch.delenv('MMIFORMER_RESUME', raising=False)
    assert ending(Stopped(signal.SIGTERM)) == 143
    train = ['tools/train.py', 'net.py', '--cfg-options', 'a=(1, 2)']
    for before in (train, [*train, '--resume'], [*train[:2], '--resume', 'iter_2.pth', *train[2:]]):
        assert resume_advice(before).splitlines()[1] == "python tools/train.py net.py --cfg-options 'a=(1, 2)' --resume"
    assert resume_advice([*train, '--launcher', 'pytorch']).startswith('the same command with --resume')
    monkeypatch.setenv('MMIFORMER_RESUME', 'tools/dist_train.sh net.py 8 --resume')
    assert resume_advice([*train, '--launcher', 'pytorch']).splitlines()[1] == 'tools/dist_train.sh net.py 8 --resume'


def test_the_memory_of_a_gpu():
    said = ending(torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'))
    assert said.startswith('error: CUDA out of memory.') and 'train_dataloader.batch_size' in said


def test_the_memory_of_the_machine():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert 'train_dataloader.batch_size' in ending(error.value)
    assert ending(MemoryError()).startswith('error: the memory is full\nReduce the batch')


def test_a_lost_worker_is_told_wherever_it_comes_up():
    lost = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
    assert ending(lost).startswith('error: a process that loads data is gone: DataLoader worker (pid 7) is killed by ')
    for error in (UserError('evaluator: wrong'), SyntaxError('failed to format')):
        error.__context__ = lost
        assert ending(error) == ending(lost)


def test_a_lost_process_of_nccl():
    """Its errors come without a name of the library; gloo's are met in tests/tools/test_dist.py."""
    said = ending(torch.distributed.DistBackendError('NCCL communicator was aborted on rank 1. Original reason: ...'))
    assert said.startswith('error: another process of this run is gone: NCCL communicator was aborted on rank 1. Its')


@pytest.mark.parametrize('bug', [TypeError('our fault'), ValueError('our fault'), ImportError('our fault')])
def test_a_bug_keeps_its_traceback(bug):
    @command('')
    def main():
        raise bug

    with pytest.raises(type(bug), match='our fault'):
        main()


def test_torchrun_hears_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    ending(UserError('no such config'))
    assert json.loads((tmp_path / 'error.json').read_text())['message']['message'] == 'error: no such config'


@pytest.mark.parametrize('error', [UserError('wrong key'), RuntimeError('a bug')])
def test_the_log_file_has_the_traceback(error, tmp_path):
    logger = logging.Logger('run')
    logger.addHandler(logging.FileHandler(tmp_path / 'run.log'))

    @command('')
    def main():
        log_notes(logger)
        raise error from KeyError('its cause')

    with pytest.raises((SystemExit, RuntimeError)) as end:
        main()
    log = (tmp_path / 'run.log').read_text()
    assert 'Traceback' in log and 'its cause' in log and str(error) in log
    if isinstance(error, UserError):
        assert end.value.code == f'error: wrong key\nThe traceback is in {tmp_path / "run.log"}'


def test_notes_wait_for_the_log(tmp_path, capsys):
    logger = logging.Logger('run')
    logger.addHandler(logging.FileHandler(tmp_path / 'run.log'))
    module = logging.getLogger('mmiformer.engine.somewhere')

    @command('')
    def main():
        keep_notes()
        module.warning('SyncBN became BN')
        log_notes(logger)
        module.warning('another batch')

    main()
    assert (tmp_path / 'run.log').read_text() == 'SyncBN became BN\nanother batch\n'
    assert capsys.readouterr().err == ''


def test_notes_of_a_run_that_never_began_are_printed(capsys):
    @command('')
    def main():
        keep_notes()
        logging.getLogger('mmiformer.engine.somewhere').warning('new key')
        raise UserError('no data')

    with pytest.raises(SystemExit):
        main()
    assert 'new key' in capsys.readouterr().err


@pytest.mark.parametrize('argument', ['key', 'key=[1,2', 'key=(1,(2)', 'key=f(1,2)'])
def test_an_option_that_is_no_pair_is_a_usage_error(argument, capsys):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    assert parser.parse_args(['--cfg-options', 'a=1', 'b.c=[1,x]']).cfg_options == {'a': 1, 'b.c': [1, 'x']}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', argument])
    assert 'argument --cfg-options' in capsys.readouterr().err


@pytest.mark.parametrize('value', ["{'type':'SGD','lr':0.1}", "dict(type='SGD', lr=0.1)", "[dict(type='EMAHook')]"])
def test_a_dict_as_a_value(value):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    with pytest.raises(UserError, match=r'--cfg-options a.b=.* a dict is no value here.*a\.b\.type='):
        parser.parse_args(['--cfg-options', 'c=out/{x}', f'a.b={value}'])
