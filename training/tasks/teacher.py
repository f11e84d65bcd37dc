# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of a teacher: what one iteration of `--loss=edm`, `vp` or `ve` does (EDM, training recipe)."""

import functools

import torch

from torch_utils import training_stats
from training import networks
from training.augment import AugmentPipe
from training.config import ConfigError
from training.loss import EDMLoss, VELoss, VPLoss
from training.student.transfer import complete_network_kwargs, copy_teacher, load_teacher
from training.update.gradients import StepGuard

# --loss (or --precond): preconditioning and the loss that goes with it.
TEACHERS = {
    'edm': (networks.EDMPrecond, EDMLoss),
    'vp': (networks.VPPrecond, VPLoss),
    've': (networks.VEPrecond, VELoss),
}
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class TeacherTask:
    """A denoiser, its loss, its augmentation and its optimizer.

    The objective is the mean over the images of the whole batch of the loss summed over pixels,
    times `loss_scaling`, which is never divided out again: Adam does not see the scale of its
    gradients, up to eps (EDM). The learning rate rises linearly over `lr_rampup_nimg` images
    from 0, as in EDM, and falls linearly to 0 over the last `lr_rampdown_nimg` images (0 in EDM),
    which saves short runs the noise of their last steps.

    Args:
        config:  Resolved options (training/config.py); network_kwargs is completed.
        dataset: Training images.
        device:  Device to train on.
    Raises:
        ValueError: Options, data, device and the teacher to start from do not fit.
    """

    def __init__(self, config, dataset, device):
        self.config = config
        self.precond, loss_class = TEACHERS[config['loss']]
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        check_precision(config['precision'], device)
        source = self._complete_config(dataset)
        check_network(self.precond, config['network_kwargs'])
        self.net = self.precond(**config['network_kwargs'])
        if source is not None:
            copy_teacher(config, source, self.net)
        self.net = self.trained = self.net.to(device, memory_format=self.layout).train()
        self.denoise = functools.partial(call_in_dtype, self.net, DTYPES[config['precision']])
        self.loss_fn = loss_class(**config['loss_kwargs'])
        self.augment_pipe = AugmentPipe(**config['augment_kwargs']) if config['augment_kwargs'] else None
        self.params = list(self.net.parameters())
        self.optimizer = torch.optim.Adam(self.params, fused=True, **config['optimizer_kwargs'])
        self.guard = StepGuard(config['nan'])

    def _complete_config(self, dataset):
        """Complete network_kwargs from the data and --transfer; return the network to start from, or None."""
        config = self.config
        if config['transfer']:
            source, info = load_teacher(config)
            if info.class_name != self.precond.__name__:
                raise ConfigError(
                    f'--transfer={config["transfer"]} is a {info.class_name}, whose weights mean something else '
                    f'under --precond={config["precond"]}; give a teacher trained with '
                    f'--precond={config["precond"]}'
                )
            config['network_kwargs'] = complete_network_kwargs(
                config, info, dataset, drop=('augment_dim', 'label_dropout')
            )
            return source
        config['network_kwargs'].update(
            img_resolution=dataset.resolution, img_channels=dataset.num_channels, label_dim=dataset.label_dim
        )
        return None

    def step(self, images, labels, rng, iteration):
        """Run one iteration.

        Args:
            images:    Images of this process, float32 [N, C, H, W], -1..1.
            labels:    One-hot labels [N, K], K may be 0.
            rng:       BatchRandom of this iteration.
            iteration: Index of the iteration, from 0 (unused: every iteration is alike).
        Returns:
            What the averages shall know of the step, as `StepGuard.step`.
        """
        count, scaling = len(images), self.config['loss_scaling']
        draw_level = rng.randn if self.loss_fn.level_draw == 'randn' else rng.rand
        level = draw_level([count, 1, 1, 1], 'D')
        draws = rng.share(self.augment_pipe.draw, count, 'augment') if self.augment_pipe else {}
        noise = rng.randn(images.shape, 'noise')
        self.optimizer.zero_grad(set_to_none=True)
        for begin in range(0, count, self.config['micro_batch']):
            part = slice(begin, begin + self.config['micro_batch'])
            x, augment_labels = images[part], None
            if self.augment_pipe:
                x, augment_labels = self.augment_pipe.apply(
                    x, {name: value[part] for name, value in draws.items()}
                )
                x = x.contiguous(memory_format=self.layout)
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

    def lr_factor(self, nimg):
        """Return the learning rate after `nimg` images as a fraction of --lr, 0..1."""
        rampup, rampdown = self.config['lr_rampup_nimg'], self.config['lr_rampdown_nimg']
        up = nimg / rampup if rampup else 1.0
        down = (self.config['total_nimg'] - nimg) / rampdown if rampdown else 1.0
        return max(min(up, down, 1.0), 0.0)

    def snapshot_entries(self):
        """Return what to store beside the EMA: loss and augmentation, as EDM does."""
        return dict(loss_fn=self.loss_fn, augment_pipe=self.augment_pipe)

    def state_dict(self):
        """Return everything a resume needs."""
        return dict(net=self.net.state_dict(), optimizer=self.optimizer.state_dict())

    def load_state_dict(self, state):
        """Continue from `state_dict()`."""
        self.net.load_state_dict(state['net'])
        self.optimizer.load_state_dict(state['optimizer'])

    def replicas(self):
        """Return the networks that are equal on all processes."""
        return [self.net]

    def summary(self):
        """Return lines that describe what is trained and how."""
        config = self.config
        lines = [
            f'Teacher: {sum(p.numel() for p in self.net.parameters()):,} parameters, all trained, '
            f'--precision={config["precision"]}'
        ]
        if config['transfer']:
            lines.append(
                f'Weights: from --transfer={config["transfer"]} sha256 {config["teacher"]["sha256"][:16]}'
            )
        values = ', '.join(
            f'{name} {value:g}' for name, value in vars(self.loss_fn).items() if not name.startswith('_')
        )
        pipe = f'--augment={self.augment_pipe.p:g}' if self.augment_pipe else 'off'
        return [*lines, f'Loss: {type(self.loss_fn).__name__} ({values}); augmentation: {pipe}']


def call_in_dtype(net, dtype, x, sigma, labels, augment_labels=None):
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


def check_precision(precision, device):
    """Refuse a number type that the device cannot train with.

    Raises:
        ConfigError: float16 on the CPU.
    """
    if precision == 'fp16' and device.type != 'cuda':
        raise ConfigError(
            '--precision=fp16 (or --fp16=True) needs a GPU, since torch has no complete float16 arithmetic on '
            'the CPU; use --precision=fp32 or bf16'
        )


def check_network(precond, kwargs):
    """Try an architecture on the meta device, where a forward pass costs nearly nothing.

    Args:
        precond: Preconditioner class.
        kwargs:  Its constructor arguments.
    Raises:
        ConfigError: It cannot be built or cannot process its images.
    """
    size = kwargs['img_resolution']
    try:
        with torch.device('meta'):
            net = precond(**kwargs)
            net(
                torch.zeros([1, kwargs['img_channels'], size, size]),
                torch.ones([1]),
                torch.zeros([1, kwargs['label_dim']]),
            )
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        mult = ','.join(str(mult) for mult in kwargs['channel_mult'])
        raise ConfigError(
            f'--cbase={kwargs["model_channels"]} --cres={mult} give no working network for {size}x{size} '
            f'images ({" ".join(str(error).split())[:120]}); widths must be multiples of 32, and each entry '
            'of --cres after the first halves the image: try --cbase=32 --cres=1,2'
        ) from error
