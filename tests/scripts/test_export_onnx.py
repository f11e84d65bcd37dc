# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of export.py --format=onnx, with onnxruntime as independent reader; skipped without the packages."""

import json
import os

import pytest
import torch

from tests.support.tiny_exports import ARCHITECTURES, fail, need, one_step, run, write_snapshot
from training.snapshots import export_formats

need('onnxscript')
onnx, onnxruntime = need('onnx'), need('onnxruntime')


@pytest.mark.parametrize(
    'arch, options', [('ddpmpp', ['--opset=20', '--sigma_max=40']), ('ncsnpp', []), ('adm', [])]
)
def test_generator(arch, options, tmp_path):
    network = write_snapshot(tmp_path / 'network.pkl', **ARCHITECTURES[arch])
    output = run(network, 'onnx', '--batch=3', *options)
    assert 'largest difference' in output and 'output images' in output
    model = onnx.load(tmp_path / 'network.onnx')
    onnx.checker.check_model(model)
    assert [item.version for item in model.opset_import if not item.domain] == [20 if options else 18]
    assert not any('map_augment' in item.name for item in model.graph.initializer)
    config = json.loads({item.key: item.value for item in model.metadata_props}['config'])
    names = ['noise'] if arch == 'ddpmpp' else ['noise', 'class_labels']
    assert (config['class_name'], config['inputs'], config['outputs']) == ('GDDPrecond', names, ['images'])
    # No folder of the machine that made the file.
    assert os.path.dirname(export_formats.__file__).encode() not in (tmp_path / 'network.onnx').read_bytes()

    session = onnxruntime.InferenceSession(tmp_path / 'network.onnx', providers=['CPUExecutionProvider'])
    assert [item.name for item in session.get_inputs()] == names and [
        item.name for item in session.get_outputs()
    ] == ['images']
    assert all(
        item.shape[0] == 'N' and item.type == 'tensor(float)'
        for item in (*session.get_inputs(), *session.get_outputs())
    )
    for batch in (1, 6):  # Neither the batch of the trace nor, for 6, one of the check.
        inputs, expected = one_step(network, batch, 40.0 if options else 80.0)
        images = torch.from_numpy(
            session.run(None, {name: item.numpy() for name, item in zip(names, inputs)})[0]
        )
        assert images.dtype == torch.float32 and (images - expected).abs().max() < 1e-5
        if len(inputs) == 2 and batch > 1:  # The labels matter: others give other images.
            feed = {'noise': inputs[0].numpy(), 'class_labels': inputs[1].flip(0).numpy()}
            assert (torch.from_numpy(session.run(None, feed)[0]) - expected).abs().max() > 1e-3


def test_unknown_opset(tmp_path, monkeypatch):
    """Refused before the exporter begins, which takes seconds."""
    monkeypatch.setattr(torch.export, 'export', None)
    network = write_snapshot(tmp_path / 'network.pkl', **ARCHITECTURES['ddpmpp'])
    message = fail(network, 'onnx', '--opset=99')
    assert '--opset=99' in message and 'try --opset=18' in message
    assert [path.name for path in tmp_path.iterdir()] == ['network.pkl']


class OtherOpset:
    """A program of the exporter whose file has operator set 17, whatever was asked for."""

    model_proto = onnx.helper.make_model(
        onnx.helper.make_graph([], 'nothing', [], []), opset_imports=[onnx.helper.make_opsetid('', 17)]
    )

    def run_decompositions(self, table):
        return self


def test_opset_that_the_exporter_does_not_make(tmp_path, monkeypatch):
    """onnx knows it, the exporter writes another one and says nothing."""
    monkeypatch.setattr(torch.export, 'export', lambda *args, **kwargs: OtherOpset())
    monkeypatch.setattr(torch.onnx, 'export', lambda program, *args, **kwargs: program)
    network = write_snapshot(tmp_path / 'network.pkl', **ARCHITECTURES['ddpmpp'])
    message = fail(network, 'onnx', '--opset=18')
    assert '--opset=18: the exporter of torch' in message and 'do not know that operator set' in message
    assert '--format=torchscript' in message
    assert [path.name for path in tmp_path.iterdir()] == ['network.pkl']
