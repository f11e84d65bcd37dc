# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training on two gloo processes against one.

What is equal: images, labels and noise of the whole batch (`--compat=clean`), so the mean losses, the
averaged gradients and, up to the order of float32 sums, every parameter. What is not: the
discriminator's batch norm, which normalises over the images of one process, as in the official
code. Distillation is therefore compared with batch norm reduced to its scale and shift, on both
sides, and with `--sync-bn`; everything else of it is the real thing. With the real batch norm the losses
differ from the first iteration on (that, too, is checked), while all processes still hold the same state.
"""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from tests.support import ROOT, processes, tiny_runs
from torch_utils import distributed, training_stats

TEACHER_NAMES = ('Loss/loss', 'Grad/norm')
INSTANCE_NAMES = ('Loss/dist/fake', 'Grad/G/norm')
FD_NAMES = ('Loss/G/loss', 'Loss/fd/teacher', 'Loss/fd/tf_efficientnet_lite0', 'Grad/G/norm')
GAN_NAMES = (
    'Loss/G/loss',
    'Loss/D/loss',
    'Loss/r1_penalty',
    'Loss/logits/fake',
    'Loss/logits/real',
    'Grad/G/norm',
    'Grad/D/norm',
    'Grad/R1/norm',
)


# ------------------------------------------------------------------------------------------------
# The runs, the same code for one and for two processes.


def train(config, folder, names, prepare=lambda run: None):
    """Train and return, on rank 0: means per tick, the flattened parameters,
    which tensors differ between the ranks.
    """
    training_stats._counters.clear()
    run = tiny_runs.make_run(config)
    prepare(run)
    start = torch.cat([p.detach().flatten() for p in run.task.trained.parameters()])
    if run.rank == 0:
        os.makedirs(folder)
    distributed.barrier()
    run.run(folder)
    state = {
        key: value for key, value in run.state_dict().items() if key in ('nimg', 'iteration', 'task', 'ema')
    }
    state['task'].pop('projection_digests', None)  # gathered on rank 0
    states = distributed.gather_objects(state)
    if states is None:
        return None
    end = torch.cat([p.detach().flatten() for p in run.task.trained.parameters()])
    means = [
        {name: line[name]['mean'] for name in names if name in line} for line in tiny_runs.read_stats(folder)
    ]
    return dict(
        means=means,
        start=start.tolist(),
        end=end.tolist(),
        differing=sorted({name for state in states for name in tiny_runs.differences(states[0], state)}),
    )


def all_runs(data, teacher, folder, *args):
    """Train each kind of run; `args` are added to the options of the clean teacher and of the student without
    batch norm.
    """
    common = (f'--data={data}', '--cond=1', '--grid=0', '--channels-last=0')
    student = (f'--transfer={teacher}', *common)
    return teacher_runs(common, folder, args) | student_runs(student, folder, args)


def teacher_runs(common, folder, args):
    def run(name, nimg, *more):
        config = tiny_runs.make_config(
            *tiny_runs.TEACHER_ARGS, *common, '--dropout=0', tiny_runs.duration(nimg), *more
        )
        return train(config, f'{folder}/{name}', TEACHER_NAMES)

    return dict(
        teacher=run('teacher', 48, *args),
        augmented=run('augmented', 16, '--augment=0.5', *args),
        official=run('official', 8, '--compat=official'),
    )


def student_runs(common, folder, args):
    rates = ('--freeze=1', '--r1-gamma=0.1', '--lr=1e-3', '--dlr=1e-3')
    method = ('--teacher-type=ctm', '--teacher-only=1', '--max-steps=8', '--distance=huber', '--lr=1e-2')

    both = ('--backbone=teacher,tf_efficientnet_lite0',)
    fd = ('--loss=fd', '--fd-features=teacher,tf_efficientnet_lite0', '--fd-queue=150', '--d-resolution=32')

    def run(name, nimg, r1_interval, *more, names=GAN_NAMES, change=None):
        config = tiny_runs.make_config(*tiny_runs.GAN_ARGS, *common, *rates, tiny_runs.duration(nimg), *more)
        changes = () if change is None else (change,)
        return train(dict(config, r1_interval=r1_interval), f'{folder}/{name}', names, *changes)

    def without_norms(run):
        tiny_runs.remove_normalisation(run.task.D)

    augmentation = ('--diffaug=1', '--ada-target=0.6', '--augment-p=0.5')
    instance = tiny_runs.make_config(*tiny_runs.COMMON_ARGS, *common, *method, tiny_runs.duration(24), *args)
    frechet = tiny_runs.make_config(
        *tiny_runs.COMMON_ARGS, *common, *fd, '--lr=1e-2', tiny_runs.duration(24), *args
    )
    return dict(
        frechet=train(frechet, f'{folder}/frechet', FD_NAMES),
        instance=train(instance, f'{folder}/instance', INSTANCE_NAMES),
        unnormalised=run('unnormalised', 40, 2, *both, *args, change=without_norms),
        # Weights that hardly move: batch norm over so few values amplifies rounding from iteration to
        # iteration.
        synchronised=run('synchronised', 40, 1, '--sync-bn=1', '--lr=1e-9', '--dlr=1e-9'),
        augmented_student=run(
            'augmented_student',
            32,
            2,
            *augmentation,
            *args,
            names=(*GAN_NAMES, 'Progress/augment'),
            change=without_norms,
        ),
        distillation=run('distillation', 24, 2),
    )


def differ_on_rank_1(data, teacher, folder):
    """Start a run whose discriminator has another spectral-norm vector on one process;
    give what each process says.
    """

    def tamper(run):
        vector = next(buffer for name, buffer in run.task.D.named_buffers() if name.endswith('.u'))
        vector.add_(1e-3 * run.rank)

    try:
        train(
            tiny_runs.make_config(
                *tiny_runs.GAN_ARGS,
                f'--data={data}',
                f'--transfer={teacher}',
                '--cond=1',
                tiny_runs.duration(8),
            ),
            folder,
            (),
            tamper,
        )
        message = 'nothing'
    except ValueError as error:
        message = str(error)
    return distributed.gather_objects(message)


def fail_on_rank_1(data, folder):
    """Train a teacher whose second iteration fails on rank 1, while rank 0 waits for its gradients."""
    run = tiny_runs.make_run(
        tiny_runs.make_config(*tiny_runs.TEACHER_ARGS, f'--data={data}', tiny_runs.duration(48))
    )
    original = run.task.step

    def step(images, labels, rng, iteration):
        if run.rank == 1 and iteration == 1:
            raise RuntimeError('rank 1 has run out of luck')
        original(images, labels, rng, iteration)

    run.task.step = step
    os.makedirs(folder, exist_ok=True)
    run.run(folder)
    print('the run has not been stopped')


def script(data, teacher, folder):
    distributed.init('cpu')
    tiny_runs.use_random_backbones()
    results = all_runs(data, teacher, folder, '--batch-gpu=2')
    results['differing'] = differ_on_rank_1(data, teacher, f'{folder}/differing')
    if distributed.get_rank() == 0:
        with open(f'{folder}/results.json', 'w', encoding='utf-8') as file:
            json.dump(results, file)
    distributed.barrier()
    fail_on_rank_1(data, f'{folder}/failing')


# ------------------------------------------------------------------------------------------------
# The tests.


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Results of one process and of two, and how each of the two ended.
    Two of the two-process runs accumulate over micro-batches.
    """
    folder = tmp_path_factory.mktemp('runs')
    data, teacher = tiny_runs.write_zip(folder / 'data.zip'), tiny_runs.write_teacher(folder / 'teacher.pkl')
    ended = processes.run_group(script, [data, teacher, str(folder)], folder, 2)
    assert (folder / 'results.json').exists(), ended[0].stderr + ended[1].stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, '_device', torch.device('cpu'))
        patch.setattr(training_stats, '_counters', {})
        tiny_runs.use_random_backbones(patch.setattr)
        one = all_runs(data, teacher, str(folder / 'one'))
    return one, json.loads((folder / 'results.json').read_text()), ended


def agree(one, two, rel):
    assert len(one) == len(two)
    for a, b in zip(one, two):
        assert a.keys() == b.keys() and a == pytest.approx(b, rel=rel)


def relative_distance(one, two):
    """Distance of the final parameters, relative to how far training has moved them."""
    start, a, b = (torch.tensor(values) for values in (one['start'], one['end'], two['end']))
    assert torch.equal(start, torch.tensor(two['start'])) and (a - start).norm() > 0.1
    return ((a - b).norm() / (a - start).norm()).item()


def test_teacher_has_the_same_losses_and_parameters(runs):
    one, two, _ended = runs
    agree(one['teacher']['means'], two['teacher']['means'], rel=1e-4)
    assert len(one['teacher']['means']) == 4 and set(one['teacher']['means'][0]) == set(TEACHER_NAMES)
    assert relative_distance(one['teacher'], two['teacher']) < 1e-2


def test_augmentation_has_the_same_draws(runs):
    one, two, _ended = runs
    agree(one['augmented']['means'], two['augmented']['means'], rel=1e-4)
    assert one['augmented']['means'][0]['Loss/loss'] != pytest.approx(
        one['teacher']['means'][0]['Loss/loss'], rel=1e-3
    )


def test_distillation_has_the_same_losses_and_parameters_up_to_batch_norm(runs):
    one, two, _ended = runs
    found = one['unnormalised']['means']
    assert set(found[-1]) == set(GAN_NAMES) and 'Loss/r1_penalty' not in found[0]
    agree(found, two['unnormalised']['means'], rel=1e-3)
    # The first iteration, before rounding could have been amplified by Adam: equal to float32 precision.
    agree(found[:1], two['unnormalised']['means'][:1], rel=2e-5)
    assert relative_distance(one['unnormalised'], two['unnormalised']) < 2e-2


def test_batch_norm_over_all_processes_gives_the_same_losses_and_gradients(runs):
    """--sync-bn: the real discriminator, first and second derivatives included."""
    one, two, _ended = runs
    assert set(one['synchronised']['means'][-1]) == set(GAN_NAMES)
    agree(one['synchronised']['means'], two['synchronised']['means'], rel=1e-3)


def test_augmentation_of_students_has_the_same_draws_and_strength(runs):
    """ADA and DiffAugment; the probability follows the signs of all processes,
    and has changed after 4 iterations.
    """
    one, two, _ended = runs
    agree(one['augmented_student']['means'][:1], two['augmented_student']['means'][:1], rel=1e-4)
    strengths = [
        [tick['Progress/augment'] for tick in result['augmented_student']['means']] for result in (one, two)
    ]
    assert strengths[0] == strengths[1] and strengths[0][-1] != strengths[0][0]
    augmented, plain = (
        one[name]['means'][0]['Grad/D/norm'] for name in ('augmented_student', 'unnormalised')
    )
    assert augmented != pytest.approx(plain, rel=1e-2)


def test_noise_of_their_own_is_noticed(runs):
    """With `--compat=official` the second process has another stream: the same comparison must fail."""
    one, two, _ended = runs
    a, b = one['official']['means'][0]['Loss/loss'], two['official']['means'][0]['Loss/loss']
    assert abs(a / b - 1) > 1e-3


def test_batch_norm_per_process_is_noticed(runs):
    one, two, _ended = runs
    a, b = (result['distillation']['means'][0] for result in (one, two))
    assert all(abs(a[name] / b[name] - 1) > 1e-2 for name in ('Grad/D/norm', 'Grad/G/norm'))
    assert a['Loss/D/loss'] != pytest.approx(b['Loss/D/loss'], rel=2e-5)


def test_processes_hold_the_same_state(runs):
    """All of it, also the running statistics of D's batch norms,
    of which every process has seen other images.
    """
    _one, two, _ended = runs
    kinds = ('teacher', 'official', 'unnormalised', 'synchronised', 'augmented_student', 'distillation')
    assert [two[name]['differing'] for name in kinds] == [[]] * len(kinds)


def test_processes_that_differ_stop_at_the_start(runs):
    _one, two, _ended = runs
    assert len(set(two['differing'])) == 1 and re.match(
        r'1 tensor\(s\) differ between the processes, first ProjectedDiscriminator.*\.u; all ranks must',
        two['differing'][0],
    )


def test_instance_based_distillation_has_the_same_losses_and_parameters(runs):
    one, two, _ended = runs
    found = one['instance']['means']
    assert set(found[0]) == set(INSTANCE_NAMES) and two['instance']['differing'] == []
    agree(found, two['instance']['means'], rel=1e-3)
    assert relative_distance(one['instance'], two['instance']) < 2e-2


def test_frechet_distance_has_the_same_losses_and_parameters(runs):
    """References and queue are measured by both, features gathered, gradients those of the global loss."""
    one, two, _ended = runs
    found = one['frechet']['means']
    assert set(found[0]) == set(FD_NAMES) and two['frechet']['differing'] == []
    agree(found, two['frechet']['means'], rel=1e-3)
    assert relative_distance(one['frechet'], two['frechet']) < 2e-2


def test_failing_process_ends_the_run_with_its_message(runs):
    _one, _two, ended = runs
    assert ended[1].returncode != 0 and 'RuntimeError: rank 1 has run out of luck' in ended[1].stderr
    assert ended[0].returncode != 0 and 'the run has not been stopped' not in ended[0].stdout


@pytest.mark.parametrize(
    'args, message',
    [
        (
            (*tiny_runs.TEACHER_ARGS, '--batch=9'),
            '--batch=9 must be a multiple of 2 processes x 4 images per forward pass '
            '(--batch-gpu) = 8; try --batch=8',
        ),
        (
            ('--transfer=none.pkl', *tiny_runs.GAN_ARGS),
            '--transfer=none.pkl: there is no such file; give the path or URL of a '
            'network-snapshot-KKKKKK.pkl',
        ),
    ],
    ids=['found by all', 'found by rank 0'],
)
def test_bad_input_is_reported_once(args, message, tmp_path):
    """Through the launcher of train.sh, which leaves out torchrun's report."""
    data = tiny_runs.write_zip(tmp_path / 'data.zip')
    command = [
        sys.executable,
        '-m',
        'torch_utils.launch',
        '--standalone',
        '--nproc_per_node=2',
        os.path.join(ROOT, 'train.py'),
        '--outdir=runs',
        f'--data={data}',
        '--cond=1',
        *args,
    ]
    ended = subprocess.run(
        command, env=processes.environment(), cwd=tmp_path, text=True, capture_output=True, timeout=300
    )
    assert [line for line in ended.stderr.splitlines() if 'Error' in line] == [f'Error: {message}']
    assert ended.returncode == 1 and 'Traceback' not in ended.stderr and os.listdir(tmp_path) == ['data.zip']
