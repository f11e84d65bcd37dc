# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that a stand-in for EDM loads our snapshots and samples the same images, and we load its files."""

import json
import pickle

import numpy as np
import pytest
import torch

from tests.support import edm_stand_in
from tests.support.upstream_files import A1, S1, S2, S3, TINY, small_network
from torch_utils import persistence
from training import networks
from training.augment import AugmentPipe
from training.loss import EDMLoss, VELoss, VPLoss
from training.sampling import samplers
from training.snapshots.snapshot import load_network, save_snapshot

CASES = {
    'edm': (networks.EDMPrecond, S2, EDMLoss()),
    'gdd': (networks.GDDPrecond, S3, None),
    'adm': (networks.EDMPrecond, A1, None),
    'vp': (networks.VPPrecond, TINY, VPLoss()),
    've': (networks.VEPrecond, S1, VELoss(sigma_max=50)),
    'iddpm': (networks.iDDPMPrecond, TINY, None),
}
PIPE = dict(p=0.5, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
NUM_STEPS = 4

# What EDM's sampling script and training loop do with a snapshot.
SCRIPT = """
import importlib.util, json, pickle
import numpy as np, torch
import dnnlib
from torch_utils import persistence

assert all(importlib.util.find_spec(name) is None for name in ('training', 'evaluations'))
torch.set_num_threads(1)

@torch.no_grad()
def heun(net, latents, labels, num_steps, low=0.002, high=80, rho=7):
    low, high = max(low, net.sigma_min), min(high, net.sigma_max)
    part = torch.arange(num_steps, dtype=torch.float64) / (num_steps - 1)
    t = (high ** (1 / rho) + part * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    t = torch.cat([net.round_sigma(t), torch.zeros(1, dtype=torch.float64)])
    x = latents.to(torch.float64) * t[0]
    for i in range(num_steps):
        d = (x - net(x, t[i], labels).to(torch.float64)) / t[i]
        following = x + (t[i + 1] - t[i]) * d
        if i < num_steps - 1:
            d_next = (following - net(following, t[i + 1], labels).to(torch.float64)) / t[i + 1]
            following = x + (t[i + 1] - t[i]) * (0.5 * d + 0.5 * d_next)
        x = following
    return x

facts, outputs = {}, {}
inputs = np.load('inputs.npz')
for case in json.load(open('cases.json')):
    with dnnlib.util.open_url(case + '.pkl') as file:
        top = pickle.load(file)
    net = top['ema'].to('cpu')
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    latents = torch.from_numpy(inputs[case])
    labels = torch.eye(net.label_dim)[:len(latents)] if net.label_dim else None
    outputs[case] = heun(net, latents, labels, json.load(open('steps.json'))).numpy()
    sigma = torch.full([len(latents), 1, 1, 1], 80.0)
    outputs[case + '_one'] = net(latents * 80, sigma, class_labels=labels, force_fp32=True).numpy()
    again = type(net)(**net.init_kwargs)                 # as tools of others rebuild it
    again.load_state_dict(net.state_dict())
    again.eval().requires_grad_(False).register_forward_hook(lambda *args: None)
    assert torch.equal(again(latents, sigma, labels), net(latents, sigma, labels))
    if 'loss_fn' in top:
        torch.manual_seed(0)
        outputs[case + '_loss'] = top['loss_fn'](net=net, images=latents, labels=labels,
                                                 augment_pipe=top['augment_pipe']).numpy()
    facts[case] = dict(keys=list(top), names=list(net.state_dict()), name=type(net).__name__)
    with open(case + '-resaved.pkl', 'wb') as file:
        pickle.dump(dict(ema=net, loss_fn=top.get('loss_fn'), augment_pipe=top['augment_pipe'],
                         dataset_kwargs=dnnlib.EasyDict(top['dataset_kwargs'])), file)
facts['texts'] = len(persistence._modules)
np.savez('outputs.npz', **outputs)
print(json.dumps(facts))
"""


@pytest.fixture(scope='module')
def one_thread():
    """Compute with one thread, as the script does: sums in another order would round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def latents_of(net):
    shape = [2, net.img_channels, net.img_resolution, net.img_resolution]
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope='module')
def checkout(tmp_path_factory, one_thread):
    """Snapshots written by us, sampled and written again by the stand-in: (folder, facts, outputs)."""
    folder = tmp_path_factory.mktemp('edm')
    latents = {}
    for case, (cls, kwargs, loss_fn) in CASES.items():
        # Networks train in this order of memory; it must not show in the file.
        net = small_network(cls, **kwargs).to(memory_format=torch.channels_last)
        extras = {}
        if loss_fn is not None:
            extras = dict(
                loss_fn=loss_fn, augment_pipe=AugmentPipe(**PIPE) if kwargs.get('augment_dim') == 9 else None
            )
        save_snapshot(
            folder / f'{case}.pkl',
            ema=net,
            net=net if case == 'gdd' else None,
            extra={'ema-0.05': small_network(cls, **kwargs)} if case == 'gdd' else None,
            dataset_kwargs=dict(path='cifar10.zip', use_labels=True),
            metadata=dict(nimg=1000),
            **extras,
        )
        latents[case] = latents_of(net).numpy()
    np.savez(folder / 'inputs.npz', **latents)
    (folder / 'cases.json').write_text(json.dumps(list(CASES)))
    (folder / 'steps.json').write_text(json.dumps(NUM_STEPS))
    edm_stand_in.write_checkout(folder, SCRIPT)
    facts = json.loads(edm_stand_in.run(folder))
    return folder, facts, np.load(folder / 'outputs.npz')


@pytest.mark.parametrize('case', list(CASES))
def test_upstream_samples_the_same_images(case, checkout, one_thread):
    folder, facts, outputs = checkout
    net, _info = load_network(folder / f'{case}.pkl')
    assert facts[case]['names'] == list(net.state_dict()) and facts[case]['name'] == type(net).__name__
    latents, labels = latents_of(net), torch.eye(net.label_dim)[:2] if net.label_dim else None
    ours = samplers.edm_sampler(net, latents, labels, num_steps=NUM_STEPS)
    assert ours.dtype == torch.float64 and torch.isfinite(ours).all()
    assert np.array_equal(outputs[case], ours.numpy())
    one = net(latents * 80, torch.full([2, 1, 1, 1], 80.0), labels)
    assert np.array_equal(outputs[case + '_one'], one.numpy())
    if net.label_dim:  # a check that could fail
        assert not np.array_equal(
            outputs[case], samplers.edm_sampler(net, latents, labels.flip(0), num_steps=NUM_STEPS)
        )


def test_each_file_holds_one_text_per_module(checkout):
    _folder, facts, _outputs = checkout
    assert facts['texts'] == 3  # networks, loss, augment: the same in all files
    assert facts['edm']['keys'] == ['ema', 'loss_fn', 'augment_pipe', 'dataset_kwargs', 'metadata']
    assert facts['gdd']['keys'] == ['net', 'ema', 'ema-0.05', 'augment_pipe', 'dataset_kwargs', 'metadata']


@pytest.mark.parametrize(
    'case', [case for case, (_cls, _kwargs, loss_fn) in CASES.items() if loss_fn is not None]
)
def test_upstream_gets_the_same_loss(case, checkout, one_thread):
    folder, _facts, outputs = checkout
    net, _info = load_network(folder / f'{case}.pkl')
    pipe = AugmentPipe(**PIPE) if net.model.map_augment is not None else None
    torch.manual_seed(0)
    labels = torch.eye(net.label_dim)[:2] if net.label_dim else None
    loss = CASES[case][2](net=net, images=latents_of(net), labels=labels, augment_pipe=pipe)
    assert np.array_equal(outputs[case + '_loss'], loss.numpy())


@pytest.mark.parametrize('case', list(CASES))
def test_we_load_what_upstream_writes(case, checkout):
    folder, _facts, _outputs = checkout
    ours, info = load_network(folder / f'{case}.pkl')
    theirs, info2 = load_network(folder / f'{case}-resaved.pkl')
    assert type(theirs) is type(ours) and info2.init_kwargs == info.init_kwargs and info2.executed == []
    assert info2.entries == ['ema', 'loss_fn', 'augment_pipe', 'dataset_kwargs']
    assert info2.dataset_kwargs == dict(path='cifar10.zip', use_labels=True)
    assert info2.extras == {'loss_fn': None, **info.extras}
    assert info2.source_sha256 == info.source_sha256 and info2.flavour == ('gdd' if case == 'gdd' else 'edm')
    for name, tensor in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name


def test_the_stand_in_executes_what_our_loader_refuses_to(tmp_path):
    # The difference between the two ways of loading, on one and the same file.
    meta = dict(
        type='class', version=6, module_src='print("was run")\nclass A: pass', class_name='A', state={'a': 1}
    )
    path = tmp_path / 'a.pkl'

    class Call:
        def __reduce__(self):
            return persistence._reconstruct_persistent_obj, (meta,)

    path.write_bytes(pickle.dumps(dict(ema=Call())))
    edm_stand_in.write_checkout(tmp_path, 'import pickle\nprint(pickle.load(open("a.pkl", "rb"))["ema"].a)')
    assert edm_stand_in.run(tmp_path).split() == ['was', 'run', '1']
    with pytest.raises(ValueError, match='holds A where a network is expected'):
        load_network(path)
