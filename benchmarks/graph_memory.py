# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory the generator's graph keeps until its backward pass, counted without computing.

    python -m benchmarks.graph_memory --recipe=gdd-i-imagenet

Networks and images lie on the meta device, so any machine can count for any GPU. Weights, backbones,
discriminator and optimizers come on top.
"""

import click
import torch

from benchmarks.expected_results import resolved
from benchmarks.synthetic_data import SyntheticDataset
from benchmarks.throughput import synthetic_config
from training import networks
from training.recipes import RECIPES
from training.student.freeze import freeze_layers

TYPES = dict(fp32=torch.float32, bf16=torch.bfloat16)


def kept_bytes(net: torch.nn.Module, dtype: torch.dtype, batch: int) -> int:
    """Return the bytes of all tensors that a forward pass keeps for its backward pass, weights left out.

    Args:
        net:   GDDPrecond on the meta device, with frozen parameters marked.
        dtype: Type in which its U-Net computes.
        batch: Images.
    """
    own = {tensor.untyped_storage()._cdata for tensor in [*net.parameters(), *net.buffers()]}
    kept = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    hook = net.model.register_forward_pre_hook(lambda _model, inputs: (inputs[0].to(dtype), *inputs[1:]))
    labels = torch.zeros([batch, net.label_dim], device='meta') if net.label_dim else None
    images = torch.zeros([batch, net.img_channels, net.img_resolution, net.img_resolution], device='meta')
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = net(images, torch.ones([batch], device='meta'), labels)
    finally:
        hook.remove()
    del out
    return sum(storage.nbytes() for storage in kept.values())


def bytes_per_image(net: torch.nn.Module, dtype: torch.dtype) -> float:
    """Return what each further image adds to `kept_bytes`; arguments as there."""
    return (kept_bytes(net, dtype, 4) - kept_bytes(net, dtype, 2)) / 2


@click.command(help=__doc__)
@click.option('--recipe', help='Published distillation of train.sh', metavar='NAME', required=True)
def main(recipe: str) -> None:
    config = resolved(recipe) if recipe in RECIPES else None
    if not config or config['loss'] != 'gdd' or not config['arch']:
        raise click.ClickException(f'--recipe={recipe} is no distillation with an --arch; try gdd-i-imagenet')
    config = synthetic_config(config, RECIPES[recipe].processes, device='cpu')
    data = SyntheticDataset(**config['dataset_kwargs'])
    shape = dict(img_resolution=data.resolution, img_channels=data.num_channels, label_dim=data.label_dim)
    with torch.device('meta'):
        net = networks.GDDPrecond(**config['network_kwargs'], **shape).train()
    freeze_layers(net, config['freeze'])
    batch = config['batch_size']
    for name, dtype in TYPES.items():
        each = bytes_per_image(net, dtype)
        click.echo(
            f'{recipe}, {name}: {each / 2**20:.0f} MiB per image, {each * batch / 2**30:.1f} GiB for the '
            f'{batch} of a process'
        )


if __name__ == '__main__':
    main()
