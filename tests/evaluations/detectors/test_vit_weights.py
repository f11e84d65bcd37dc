# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of vit_weights.py: every spelling of published weights gives the same state; others are refused."""

import pytest
import torch

from evaluations.detectors.vit_weights import clip_state, dinov2_state, read_vit_weights
from tests.support.vit_files import (
    WIDTH,
    hugging_face_clip,
    hugging_face_dinov2,
    openai_names,
    randomised,
    small_clip,
    small_dinov2,
)
from training.backbones.weights import WeightsError

pytest.importorskip('timm', reason='pip install timm')


def test_every_spelling_of_clip_gives_the_same_state():
    model = small_clip()
    state = {name: tensor.clone() for name, tensor in randomised(model).state_dict().items()}
    state['head.bias'] = torch.zeros(512)  # the projection has none
    no_bias = {name: tensor for name, tensor in state.items() if name != 'head.bias'}
    for spelled in (openai_names(state), hugging_face_clip(state), state, no_bias):
        found = clip_state(spelled, model, 'file')
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    half = clip_state(
        {name: tensor.half() for name, tensor in openai_names(state).items()}, model, 'file'
    )  # as published
    assert all(tensor.dtype == torch.float32 for tensor in half.values())


def test_every_spelling_of_dinov2_gives_the_same_state():
    model = small_dinov2()
    state = {name: tensor.clone() for name, tensor in randomised(model).state_dict().items()}
    for spelled in ({**state, 'mask_token': torch.zeros(1, WIDTH)}, hugging_face_dinov2(state), state):
        found = dinov2_state(spelled, model, 'file')
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_other_weights_are_refused(tmp_path):
    model = small_clip()
    state = openai_names(randomised(model).state_dict())
    del state['visual.ln_pre.bias']
    with pytest.raises(
        WeightsError,
        match='mine.pt does not hold .* CLIP ViT with 32-pixel patches at 224 pixels: missing: norm_pre.bias',
    ):
        clip_state(state, model, 'mine.pt')
    with pytest.raises(WeightsError, match='missing: cls_token'):
        clip_state({'a': torch.zeros(1)}, model, 'mine.pt')
    model = small_dinov2()
    state = randomised(model).state_dict()
    with pytest.raises(WeightsError, match='without registers: unknown: register_tokens'):
        dinov2_state({**state, 'register_tokens': torch.zeros(1, 4, WIDTH)}, model, 'mine.pth')
    with pytest.raises(WeightsError, match='wrong shape: pos_embed'):
        dinov2_state({**state, 'pos_embed': torch.zeros(1, 257, WIDTH)}, model, 'mine.pth')
    with pytest.raises(WeightsError, match='not finite: norm.bias'):
        dinov2_state({**state, 'norm.bias': torch.full([WIDTH], float('inf'))}, model, 'mine.pth')
    (tmp_path / 'x.pt').write_bytes(b'no weights')
    with pytest.raises(WeightsError, match='cannot be read'):
        read_vit_weights(str(tmp_path / 'x.pt'))
