# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of a teacher: what one iteration does with loss='edm', 'vp' or 've' (EDM, training recipe)."""

import functools
from collections.abc import Mapping
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg, as_option
from torch_utils import misc, training_stats
from torch_utils.randomness import BatchRandom
from training import networks
from training.augment import AugmentPipe
from training.loss import EDMLoss, VELoss, VPLoss
from training.student.transfer import complete_network_kwargs, copy_teacher, load_teacher, teacher_facts
from training.update.gradients import StepGuard

# Option loss (or precond): preconditioning and the loss that goes with it.
TEACHERS = {
    'edm': (networks.EDMPrecond, EDMLoss),
    'vp': (networks.VPPrecond, VPLoss),
    've': (networks.VEPrecond, VELoss),
}
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class TeacherTask:
    """A denoiser, its loss, its augmentation and its optimizer. A `Task` (training/tasks/task.py).

    The objective is the mean over the images of the whole batch of the loss summed over pixels,
    times `loss_scaling`, which is never divided out again: Adam does not see the scale of its
    gradients, up to eps (EDM). The learning rate rises linearly over `lr_rampup_nimg` images
    from 0, as in EDM, and falls linearly to 0 over the last `lr_rampdown_nimg` images (0 in EDM),
    which saves short runs the noise of their last steps.

    Args:
        config:      Resolved options (training/config.py); read, never changed.
        dataset:     Training images.
        device:      Device to train on.
        micro_batch: Images of one forward pass.
    Raises:
        ValueError: Options, data, device and the teacher to start from do not fit.
    """

    def __init__(self, config: dict, dataset: Any, device: torch.device, micro_batch: int) -> None:
        self.config, self.micro_batch = config, micro_batch
        precond, loss_class = TEACHERS[config['loss']]
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        check_precision(config['precision'], device)
        source, self.facts = self._choose_network(precond, dataset)
        kwargs = self.facts['network_kwargs']
        check_network(precond, kwargs)
        net = precond(**kwargs)
        if source is not None:
            copy_teacher(source, net, config['transfer'])
        self.net = self.trained = net.to(device, memory_format=self.layout).train()
        self.denoise = functools.partial(call_in_dtype, self.net, DTYPES[config['precision']])
        self.loss_fn = loss_class(**config['loss_kwargs'])
        self.augment_pipe = AugmentPipe(**config['augment_kwargs']) if config['augment_kwargs'] else None
        self.params = list(self.net.parameters())
        self.optimizer = torch.optim.Adam(self.params, fused=True, **config['optimizer_kwargs'])
        self.guard = StepGuard(config['nan'], config['reduce'])

    def _choose_network(
        self, precond: type[torch.nn.Module], dataset: Any
    ) -> tuple[torch.nn.Module | None, dict]:
        """Complete network_kwargs from data and teacher; return the network to start from, and the facts."""
        config = self.config
        if not config['transfer']:
            kwargs = config['network_kwargs'] | dict(
                img_resolution=dataset.resolution,
                img_channels=dataset.num_channels,
                label_dim=dataset.label_dim,
            )
            return None, dict(network_kwargs=kwargs)
        source, info = load_teacher(config['transfer'], config['trust_pickle'])
        if info.class_name != precond.__name__:
            raise ArgumentError(
                arg('transfer', config['transfer']),
                f' is a {info.class_name}, whose weights mean something else under ',
                arg('precond', config['precond']),
                '; give a teacher trained with ',
                arg('precond', config['precond']),
            )
        kwargs = complete_network_kwargs(
            info,
            dataset,
            data=config['dataset_kwargs']['path'],
            transfer=config['transfer'],
            network_kwargs=config['network_kwargs'],
            network_options=config['network_options'],
            drop=('augment_dim', 'label_dropout'),
        )
        return source, dict(network_kwargs=kwargs, teacher=teacher_facts(info))

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        """Run one iteration, as `Task.step`; every iteration is alike."""
        count, scaling = len(images), self.config['loss_scaling']
        draw_level = rng.randn if self.loss_fn.level_draw == 'randn' else rng.rand
        level = draw_level([count, 1, 1, 1], 'D')
        draws = rng.share(self.augment_pipe.draw, count, 'augment') if self.augment_pipe else {}
        noise = rng.randn(images.shape, 'noise')
        self.optimizer.zero_grad(set_to_none=True)
        for begin in range(0, count, self.micro_batch):
            part = slice(begin, begin + self.micro_batch)
            x, augment_labels = self.augment(
                images[part], {name: value[part] for name, value in draws.items()}
            )
            loss = self.loss_fn(
                self.denoise,
                x,
                labels[part],
                level=level[part],
                noise=noise[part],
                augment_labels=augment_labels,
            )  # [n, C, H, W]
            training_stats.report('Loss/loss', loss)
            (loss.sum() / count * scaling).backward()
        for group in self.optimizer.param_groups:
            group['lr'] = self.config['optimizer_kwargs']['lr'] * self.lr_factor(rng.nimg)
        return self.guard.step('', self.optimizer, self.params, scaling)

    def augment(
        self, images: torch.Tensor, draws: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Augment images [n, C, H, W] as drawn; returns them and the labels that tell the network of it."""
        if not self.augment_pipe:
            return images, None
        images, augment_labels = self.augment_pipe.apply(images, draws)
        return images.contiguous(memory_format=self.layout), augment_labels

    def lr_factor(self, nimg: int) -> float:
        """Return the learning rate after `nimg` images as a fraction of the full one, 0..1."""
        rampup, rampdown = self.config['lr_rampup_nimg'], self.config['lr_rampdown_nimg']
        up = nimg / rampup if rampup else 1.0
        down = (self.config['total_nimg'] - nimg) / rampdown if rampdown else 1.0
        return max(min(up, down, 1.0), 0.0)

    def snapshot_entries(self) -> dict[str, Any]:
        """Return what to store beside the EMA: loss and augmentation, as EDM does."""
        return dict(loss_fn=self.loss_fn, augment_pipe=self.augment_pipe)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs."""
        return dict(net=self.net.state_dict(), optimizer=self.optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.net.load_state_dict(state['net'])
        self.optimizer.load_state_dict(state['optimizer'])

    def replicas(self) -> list[torch.nn.Module]:
        """Return the networks that are equal on all processes."""
        return [self.net]

    def summary(self) -> list[str]:
        """Return lines that describe what is trained and how."""
        config = self.config
        lines = [
            f'Teacher: {sum(p.numel() for p in self.net.parameters()):,} parameters, all trained, '
            f'{as_option(arg("precision", config["precision"]))}'
        ]
        if config['transfer']:
            sha256 = self.facts['teacher']['sha256']
            lines.append(
                f'Weights: from {as_option(arg("transfer", config["transfer"]))} sha256 {sha256[:16]}'
            )
        values = ', '.join(
            f'{name} {value:g}' for name, value in vars(self.loss_fn).items() if not name.startswith('_')
        )
        pipe = as_option(arg('augment', float(self.augment_pipe.p))) if self.augment_pipe else 'off'
        return [*lines, f'Loss: {type(self.loss_fn).__name__} ({values}); augmentation: {pipe}']


def call_in_dtype(
    net: torch.nn.Module,
    dtype: torch.dtype,
    x: torch.Tensor,
    sigma: torch.Tensor,
    labels: torch.Tensor,
    augment_labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Call a preconditioned network whose U-Net shall compute in `dtype`.

    The U-Nets compute in the type of their input, with embedding, normalisation and attention
    weights in float32. The network itself offers float16 on CUDA only (`use_fp16`), which is all
    that its EDM format can express; this serves the other types and devices.

    Args:
        net:            Preconditioned network.
        dtype:          torch.float32, torch.float16 or torch.bfloat16.
        x, sigma, labels, augment_labels: As the network takes them.
    Returns:
        Denoised images, float32 [N, C, H, W].
    """
    if dtype == torch.float32:
        return net(x, sigma, labels, augment_labels=augment_labels)
    # Not left in place: copies of the network (EMA, snapshots) must not carry it.
    hook = net.model.register_forward_pre_hook(lambda _model, args: (args[0].to(dtype), *args[1:]))
    try:
        return net(x, sigma, labels, augment_labels=augment_labels)
    finally:
        hook.remove()


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a number type that the device cannot train with.

    Raises:
        ArgumentError: float16 on the CPU.
    """
    if precision == 'fp16' and device.type != 'cuda':
        raise ArgumentError(
            arg('precision', 'fp16'),
            ' (or ',
            arg('fp16', True),
            ') needs a GPU, since torch has no complete float16 arithmetic on the CPU; use ',
            arg('precision', 'fp32'),
            ' or bf16',
        )


def check_network(precond: type[torch.nn.Module], kwargs: Mapping) -> None:
    """Try an architecture on the meta device, where a forward pass costs nearly nothing.

    Args:
        precond: Preconditioner class.
        kwargs:  Its constructor arguments.
    Raises:
        ArgumentError: It cannot be built or cannot process its images.
    """
    size = kwargs['img_resolution']
    try:
        with misc.without_values():
            net = precond(**kwargs)
        with torch.device('meta'):
            net(
                torch.zeros([1, kwargs['img_channels'], size, size]),
                torch.ones([1]),
                torch.zeros([1, kwargs['label_dim']]),
            )
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        raise ArgumentError(
            arg('cbase', kwargs['model_channels']),
            ' ',
            arg('cres', kwargs['channel_mult']),
            f' give no working network for {size}x{size} images ({" ".join(str(error).split())[:120]}); '
            'widths must be multiples of 32, and each entry of ',
            arg('cres'),
            ' after the first halves the image: try ',
            arg('cbase', 32),
            ' ',
            arg('cres', [1, 2]),
        ) from error
