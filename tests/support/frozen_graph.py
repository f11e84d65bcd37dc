# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Write a frozen TensorFlow graph like classify_image_graph_def.pb, with random weights, for tests.

Nodes, names, operations and the old format version are those of the published file; topology and
names are written down here independently of the code under test.
"""

import numpy as np


class GraphBuilder:
    """Collect the nodes of a graph. `tf` is the tensorflow module, so that this file imports without it."""

    def __init__(self, tf, seed=0):
        self._tf = tf
        self._random = np.random.RandomState(seed)
        self._channels = {}
        self.graph = tf.compat.v1.GraphDef()
        self.graph.versions.producer = 8  # BatchNormWithGlobalNormalization exists only up to this version

    def node(self, name, op, inputs=(), channels=None, **attributes):
        """Add a node; attributes are TensorFlow types, numbers, texts or lists of ints."""
        node = self.graph.node.add(name=name, op=op, input=list(inputs))
        for key, value in attributes.items():
            target = node.attr[key]
            if isinstance(value, self._tf.DType):
                target.type = value.as_datatype_enum
            elif isinstance(value, bool):
                target.b = value
            elif isinstance(value, int):
                target.i = value
            elif isinstance(value, float):
                target.f = value
            elif isinstance(value, str):
                target.s = value.encode()
            elif isinstance(value, list):
                target.list.i.extend(value)
            else:
                target.tensor.CopyFrom(value)
        self._channels[name] = channels
        return name

    def const(self, name, value, dtype=None):
        proto = self._tf.make_tensor_proto(value, dtype=dtype)
        return self.node(name, 'Const', dtype=self._tf.as_dtype(proto.dtype), value=proto)

    def start(self):
        """From the JPEG decoder, which nobody uses, to the normalised image."""
        tf = self._tf
        self.const('DecodeJpeg/contents', b'', tf.string)
        self.node('DecodeJpeg', 'DecodeJpeg', ['DecodeJpeg/contents'])
        self.node('Cast', 'Cast', ['DecodeJpeg'], SrcT=tf.uint8, DstT=tf.float32)
        self.const('ExpandDims/dim', 0, tf.int32)
        self.node('ExpandDims', 'ExpandDims', ['Cast', 'ExpandDims/dim'], T=tf.float32)
        self.const('ResizeBilinear/size', [299, 299], tf.int32)
        self.node(
            'ResizeBilinear',
            'ResizeBilinear',
            ['ExpandDims', 'ResizeBilinear/size'],
            T=tf.float32,
            align_corners=False,
        )
        self.const('Sub/y', 128.0)
        self.node('Sub', 'Sub', ['ResizeBilinear', 'Sub/y'], T=tf.float32)
        self.const('Mul/y', 1 / 128)
        return self.node('Mul', 'Mul', ['Sub', 'Mul/y'], channels=3, T=tf.float32)

    def unit(self, name, source, out, kernel, stride=1, padding='SAME'):
        """Convolution, batch norm, CheckNumerics behind a control dependency, ReLU."""
        tf, (height, width) = self._tf, kernel
        fan_in = height * width * self._channels[source]
        shape = [height, width, self._channels[source], out]
        self.const(
            f'{name}/conv2d_params', (self._random.randn(*shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        )
        self.node(
            f'{name}/Conv2D',
            'Conv2D',
            [source, f'{name}/conv2d_params'],
            T=tf.float32,
            strides=[1, stride, stride, 1],
            padding=padding,
            use_cudnn_on_gpu=True,
        )
        vectors = {
            'beta': 0.1 * self._random.randn(out),
            'gamma': np.ones(out),
            'moving_mean': 0.1 * self._random.randn(out),
            'moving_variance': 1 + 0.2 * self._random.rand(out),
        }
        for part, value in vectors.items():
            self.const(f'{name}/batchnorm/{part}', value.astype(np.float32))
        order = ('moving_mean', 'moving_variance', 'beta', 'gamma')
        self.node(
            f'{name}/batchnorm',
            'BatchNormWithGlobalNormalization',
            [f'{name}/Conv2D', *(f'{name}/batchnorm/{part}' for part in order)],
            T=tf.float32,
            variance_epsilon=0.001,
            scale_after_normalization=False,
        )
        self.node(
            f'{name}/CheckNumerics',
            'CheckNumerics',
            [f'{name}/batchnorm'],
            T=tf.float32,
            message='not finite',
        )
        self.node(
            f'{name}/control_dependency',
            'Identity',
            [f'{name}/batchnorm', f'^{name}/CheckNumerics'],
            T=tf.float32,
        )
        return self.node(name, 'Relu', [f'{name}/control_dependency'], channels=out, T=tf.float32)

    def chain(self, source, *units):
        """Several units after each other: (name, channels, kernel[, stride, padding])."""
        for name, *rest in units:
            source = self.unit(name, source, *rest)
        return source

    def pool(self, name, source, op, size=3, stride=2, padding='VALID'):
        return self.node(
            name,
            op,
            [source],
            channels=self._channels[source],
            T=self._tf.float32,
            ksize=[1, size, size, 1],
            strides=[1, stride, stride, 1],
            padding=padding,
        )

    def join(self, block, branches):
        self.const(f'{block}/join/concat_dim', 3, self._tf.int32)
        return self.node(
            f'{block}/join',
            'Concat',
            [f'{block}/join/concat_dim', *branches],
            T=self._tf.float32,
            N=len(branches),
            channels=sum(self._channels[branch] for branch in branches),
        )

    def block35(self, b, x, pool_channels):
        pooled = self.pool(f'{b}/tower_2/pool', x, 'AvgPool', stride=1, padding='SAME')
        return self.join(
            b,
            [
                self.unit(f'{b}/conv', x, 64, (1, 1)),
                self.chain(x, (f'{b}/tower/conv', 48, (1, 1)), (f'{b}/tower/conv_1', 64, (5, 5))),
                self.chain(
                    x,
                    (f'{b}/tower_1/conv', 64, (1, 1)),
                    (f'{b}/tower_1/conv_1', 96, (3, 3)),
                    (f'{b}/tower_1/conv_2', 96, (3, 3)),
                ),
                self.unit(f'{b}/tower_2/conv', pooled, pool_channels, (1, 1)),
            ],
        )

    def block17(self, b, x, c):
        pooled = self.pool(f'{b}/tower_2/pool', x, 'AvgPool', stride=1, padding='SAME')
        return self.join(
            b,
            [
                self.unit(f'{b}/conv', x, 192, (1, 1)),
                self.chain(
                    x,
                    (f'{b}/tower/conv', c, (1, 1)),
                    (f'{b}/tower/conv_1', c, (1, 7)),
                    (f'{b}/tower/conv_2', 192, (7, 1)),
                ),
                self.chain(
                    x,
                    (f'{b}/tower_1/conv', c, (1, 1)),
                    (f'{b}/tower_1/conv_1', c, (7, 1)),
                    (f'{b}/tower_1/conv_2', c, (1, 7)),
                    (f'{b}/tower_1/conv_3', c, (7, 1)),
                    (f'{b}/tower_1/conv_4', 192, (1, 7)),
                ),
                self.unit(f'{b}/tower_2/conv', pooled, 192, (1, 1)),
            ],
        )

    def block8(self, b, x, pool_op):
        pooled = self.pool(f'{b}/tower_2/pool', x, pool_op, stride=1, padding='SAME')
        middle = self.unit(f'{b}/tower/conv', x, 384, (1, 1))
        double = self.chain(x, (f'{b}/tower_1/conv', 448, (1, 1)), (f'{b}/tower_1/conv_1', 384, (3, 3)))
        return self.join(
            b,
            [
                self.unit(f'{b}/conv', x, 320, (1, 1)),
                self.unit(f'{b}/tower/mixed/conv', middle, 384, (1, 3)),
                self.unit(f'{b}/tower/mixed/conv_1', middle, 384, (3, 1)),
                self.unit(f'{b}/tower_1/mixed/conv', double, 384, (1, 3)),
                self.unit(f'{b}/tower_1/mixed/conv_1', double, 384, (3, 1)),
                self.unit(f'{b}/tower_2/conv', pooled, 192, (1, 1)),
            ],
        )

    def reduce_35(self, b, x):
        return self.join(
            b,
            [
                self.unit(f'{b}/conv', x, 384, (3, 3), 2, 'VALID'),
                self.chain(
                    x,
                    (f'{b}/tower/conv', 64, (1, 1)),
                    (f'{b}/tower/conv_1', 96, (3, 3)),
                    (f'{b}/tower/conv_2', 96, (3, 3), 2, 'VALID'),
                ),
                self.pool(f'{b}/pool', x, 'MaxPool'),
            ],
        )

    def reduce_17(self, b, x):
        return self.join(
            b,
            [
                self.chain(
                    x, (f'{b}/tower/conv', 192, (1, 1)), (f'{b}/tower/conv_1', 320, (3, 3), 2, 'VALID')
                ),
                self.chain(
                    x,
                    (f'{b}/tower_1/conv', 192, (1, 1)),
                    (f'{b}/tower_1/conv_1', 192, (1, 7)),
                    (f'{b}/tower_1/conv_2', 192, (7, 1)),
                    (f'{b}/tower_1/conv_3', 192, (3, 3), 2, 'VALID'),
                ),
                self.pool(f'{b}/pool', x, 'MaxPool'),
            ],
        )

    def finish(self, x):
        """Global pool and classifier."""
        tf = self._tf
        self.pool('pool_3', x, 'AvgPool', size=8, stride=1)
        self.const(
            'pool_3/_reshape/shape', [1, 2048], tf.int32
        )  # the published graph takes one image at a time here
        self.node('pool_3/_reshape', 'Reshape', ['pool_3', 'pool_3/_reshape/shape'], T=tf.float32)
        self.const('softmax/weights', (self._random.randn(2048, 1008) / 16).astype(np.float32))
        self.const('softmax/biases', (self._random.randn(1008)).astype(np.float32))
        self.node('softmax/logits/MatMul', 'MatMul', ['pool_3/_reshape', 'softmax/weights'], T=tf.float32)
        self.node('softmax/logits', 'BiasAdd', ['softmax/logits/MatMul', 'softmax/biases'], T=tf.float32)
        self.node('softmax', 'Softmax', ['softmax/logits'], T=tf.float32)


def write_random_graph(tf, path, seed=0):
    """Write the graph with random weights to `path` (96 MB)."""
    builder = GraphBuilder(tf, seed)
    x = builder.chain(
        builder.start(),
        ('conv', 32, (3, 3), 2, 'VALID'),
        ('conv_1', 32, (3, 3), 1, 'VALID'),
        ('conv_2', 64, (3, 3)),
    )
    x = builder.chain(
        builder.pool('pool', x, 'MaxPool'), ('conv_3', 80, (1, 1)), ('conv_4', 192, (3, 3), 1, 'VALID')
    )
    x = builder.pool('pool_1', x, 'MaxPool')
    for name, pool_channels in (('mixed', 32), ('mixed_1', 64), ('mixed_2', 64)):
        x = builder.block35(name, x, pool_channels)
    x = builder.reduce_35('mixed_3', x)
    for name, width in (('mixed_4', 128), ('mixed_5', 160), ('mixed_6', 160), ('mixed_7', 192)):
        x = builder.block17(name, x, width)
    x = builder.reduce_17('mixed_8', x)
    builder.finish(builder.block8('mixed_10', builder.block8('mixed_9', x, 'AvgPool'), 'MaxPool'))
    with open(path, 'wb') as f:
        f.write(builder.graph.SerializeToString())
