# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Search order, hashes and messages of the detectors' weights; no network."""

import hashlib
import pathlib

import pytest
import torch

from evaluations.detectors import weights as detector_weights
from evaluations.detectors.weights import (
    PUBLISHED,
    DetectorWeightsError,
    PublishedFile,
    find_weights,
    state_sha256,
)

CONTENT = b'the published weights'
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Empty folders instead of the caches, one published file of known content, and no network."""
    for name in ('pretrained', 'hub/checkpoints', 'home/.cache/clip', 'cache/downloads'):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('DNNLIB_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    files = (
        PublishedFile('first.pth', 'https://a.example/first.pth', SHA256),
        PublishedFile(
            'second.pb', 'https://b.example/second.pb', hashlib.sha256(b'other format').hexdigest()
        ),
    )
    monkeypatch.setitem(PUBLISHED, 'inception', files)
    asked = []

    def refuse(url, **options):
        asked.append((url, options))
        raise ValueError(f'{url} cannot be downloaded (no network); download it by other means')

    monkeypatch.setattr(detector_weights, 'open_url', refuse)
    return tmp_path, asked


def find(folder, path=None, name='inception'):
    return find_weights(name, str(folder / 'pretrained'), path)


def test_pretrained_comes_before_the_caches_and_these_before_a_download(place):
    folder, asked = place
    key = hashlib.md5(b'https://a.example/first.pth').hexdigest()
    places = [
        'cache/downloads/' + key + '_first.pth',
        'home/.cache/clip/first.pth',
        'hub/checkpoints/first.pth',
        'pretrained/first.pth',
    ]
    for name in places:  # from the last place looked at to the first
        (folder / name).write_bytes(CONTENT)
        found = find(folder)
        assert (
            found.path == str(folder / name)
            and found.sha256 == SHA256
            and found.published
            and found.notes == ()
        )
    assert asked == []


def test_other_formats_are_found_as_well(place):
    folder, _ = place
    (folder / 'pretrained' / 'second.pb').write_bytes(b'other format')
    assert find(folder).path.endswith('second.pb')
    (folder / 'pretrained' / 'first.pth').write_bytes(CONTENT)
    assert find(folder).path.endswith('first.pth')


def test_wrong_content_is_refused(place):
    folder, _ = place
    (folder / 'pretrained' / 'first.pth').write_bytes(b'half a file')
    with pytest.raises(DetectorWeightsError, match=f'first.pth as published has {SHA256}.*detector_path'):
        find(folder)


def test_download_is_tried_last_and_checked(place, monkeypatch):
    folder, _ = place
    downloaded = folder / 'downloaded'

    def download(url, num_attempts, return_filename):
        if 'b.example' in url:
            downloaded.write_bytes(b'other format')
            return str(downloaded)
        downloaded.write_bytes(b'an error page')
        return str(downloaded)

    monkeypatch.setattr(detector_weights, 'open_url', download)
    found = find(folder)  # the first URL gives something else, the second the right file
    assert found.published and found.sha256 == PUBLISHED['inception'][1].sha256


def test_missing_weights_are_named_with_file_url_hash_and_folder(place):
    folder, asked = place
    with pytest.raises(DetectorWeightsError) as error:
        find(folder)
    message = str(error.value)
    assert [url for url, _ in asked] == ['https://a.example/first.pth', 'https://b.example/second.pb']
    assert '\n' not in message
    for part in (
        'inception',
        'first.pth',
        'https://a.example/first.pth',
        SHA256,
        str(folder / 'pretrained'),
        'second.pb',
        'no network',
    ):
        assert part in message, part


def test_a_given_file_may_have_any_hash_but_is_not_called_published(place):
    folder, _ = place
    (folder / 'mine.pth').write_bytes(b'other weights')
    found = find(folder, str(folder / 'mine.pth'))
    assert not found.published and found.sha256 == hashlib.sha256(b'other weights').hexdigest()
    assert len(found.notes) == 1 and found.sha256 in found.notes[0]
    (folder / 'renamed.bin').write_bytes(CONTENT)
    found = find(folder, str(folder / 'renamed.bin'))
    assert found.published and found.notes == ()
    with pytest.raises(
        DetectorWeightsError, match='detector_path=.*none.pth cannot be read .No such file.*first.pth'
    ):
        find(folder, str(folder / 'none.pth'))


def test_a_given_folder_is_searched_first(place):
    folder, _ = place
    (folder / 'pretrained' / 'first.pth').write_bytes(CONTENT)
    (folder / 'elsewhere').mkdir()
    (folder / 'elsewhere' / 'second.pb').write_bytes(b'other format')
    assert find(folder, str(folder / 'elsewhere')).path == str(folder / 'elsewhere' / 'second.pb')


def test_file_without_published_hash_is_used_and_its_hash_reported(place):
    folder, _ = place
    assert PUBLISHED['dinov2-vit-l-14'][0].sha256 is None
    (folder / 'pretrained' / 'dinov2_vitl14_pretrain.pth').write_bytes(CONTENT)
    found = find(folder, name='dinov2-vit-l-14')
    assert found.published and SHA256 in found.notes[0] and 'state no SHA-256' in found.notes[0]
    given = find(folder, str(folder / 'pretrained' / 'dinov2_vitl14_pretrain.pth'), name='dinov2-vit-l-14')
    assert not given.published


def test_published_hashes_of_the_specification(shared_dir, monkeypatch):
    monkeypatch.undo()
    text = (shared_dir / 'spec' / 'evaluation.md').read_text(encoding='utf-8')
    for detector, files in PUBLISHED.items():
        for file in files if detector != 'clip-vit-l-14-336' else ():
            assert f'`{file.url}`' in text and (file.sha256 is None or file.sha256 in text), file.name


def test_published_hash_of_the_larger_clip():
    """It is not in the specification; torch-fidelity states it too."""
    judge = pytest.importorskip('torch_fidelity.feature_extractor_clip', reason='pip install torch-fidelity')
    (file,) = PUBLISHED['clip-vit-l-14-336']
    assert file.sha256 in file.url and file.sha256 in pathlib.Path(judge.__file__).read_text(encoding='utf-8')


def test_hash_of_weights_depends_on_names_shapes_and_values_only():
    state = {'a': torch.arange(6.0).reshape(2, 3), 'b': torch.ones(2)}
    digest = state_sha256(state)
    assert digest == state_sha256({'b': torch.ones(2), 'a': torch.arange(6.0).reshape(2, 3)})
    assert digest == state_sha256({**state, 'b': torch.ones(2, dtype=torch.float16)})
    assert digest == state_sha256(
        {**state, 'a': torch.arange(6.0).reshape(2, 3).T.contiguous().T}
    )  # other strides
    others = [
        {**state, 'b': torch.zeros(2)},
        {**state, 'a': state['a'].reshape(3, 2)},
        {'a': state['a'], 'c': state['b']},
    ]
    assert len({digest, *map(state_sha256, others)}) == 4
