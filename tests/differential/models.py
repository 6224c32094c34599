"""Random models of every layer that image models use, with options drawn from all that Keras allows."""

import keras
import numpy as np
from keras import layers as L
from keras import ops as K

from draw import Draw, settle

# Larger activations and weights only make a run longer.
MAX_ELEMENTS, MAX_WEIGHTS = 6000, 40_000

ACTIVATIONS = [
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "sigmoid", "hard_sigmoid", "log_sigmoid", "tanh",
    "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "softplus", "softsign", "exponential", "silu", "swish",
    "hard_silu", "hard_swish", "gelu", "mish", "squareplus", "sparse_plus", "sparse_sigmoid", "threshold", "softmax",
    "log_softmax", "sparsemax",
]  # fmt: skip
RANDOM_LAYERS = [
    lambda d: L.RandomFlip(d.one("horizontal", "vertical", "horizontal_and_vertical")),
    lambda d: L.RandomRotation(d.number(0, 0.5), fill_mode=d.one("reflect", "wrap", "constant", "nearest")),
    lambda d: L.RandomZoom(d.number(0, 0.5), d.one(None, 0.2), interpolation=d.one("nearest", "bilinear")),
    lambda d: L.RandomTranslation(d.number(0, 0.5), d.number(0, 0.5), seed=d.one(None, 3)),
    lambda d: L.RandomContrast(d.number(0, 0.9), value_range=d.one((0, 255), (0, 1))),
    lambda d: L.RandomBrightness(d.number(0, 0.9), value_range=d.one((0, 255), (0, 1))),
    lambda d: L.RandomShear(d.number(0, 0.5), d.number(0, 0.5)),
    lambda d: L.RandomHue(d.number(0, 0.9), value_range=(0, 1)),
    lambda d: L.RandomSaturation(d.number(0, 0.9), value_range=(0, 1)),
    lambda d: L.RandomGrayscale(d.number(0, 1)),
    lambda d: L.RandomErasing(d.number(0, 1)),
    lambda d: L.RandomSharpness(d.number(0, 1)),
    lambda d: L.RandomColorDegeneration(d.number(0, 1)),
    lambda d: L.RandomPosterization(d.integer(1, 8)),
    lambda d: L.RandomInvert(d.number(0, 1)),
    lambda d: L.RandomGaussianBlur(d.number(0, 1), 3, (0.5, 1.5)),
    lambda d: L.RandomPerspective(d.number(0, 1)),
]


class Refused(Exception):
    """A choice that Keras doesn't allow here, or that is too large: another one is drawn."""


class Blocks:
    """The blocks that a random model is made of. Each takes a symbolic tensor and returns another one."""

    def __init__(self, draw, trained):
        self.d, self.trained = draw, trained

    # Options that many layers have.

    def activation(self):
        d = self.d
        if d.chance(0.6):
            return d.one(None, "relu", "relu", "silu", "tanh", "gelu")
        name = d.one(*ACTIVATIONS)
        if d.chance(0.15):
            function = d.one(L.LeakyReLU(d.number(0, 0.5)), L.ReLU(6.0), L.ELU(), L.Softmax())
            layer = d.one(L.PReLU, L.BatchNormalization, L.LayerNormalization)
            return function if d.chance(0.5) else layer(trainable=d.chance(0.8))
        return getattr(keras.activations, name) if d.chance(0.3) else name

    def rate(self, high=0.9):
        """The rate of a random layer: 0 where training is compared, as no two programs draw the same numbers."""
        return 0.0 if self.trained else self.d.number(0, high)

    def kernel_options(self, name="kernel"):
        d = self.d
        return d.options(
            use_bias=[True, False],
            activation=[self.activation()],
            **{f"{name}_initializer": ["he_normal", "orthogonal", keras.initializers.VarianceScaling(0.5, "fan_out")]},
            bias_initializer=["zeros", "ones"],
            **{f"{name}_regularizer": [keras.regularizers.L2(0.01), keras.regularizers.L1(0.001), "l2"]},
            **{f"{name}_constraint": [None, "max_norm", "non_neg", "unit_norm"]},
        )

    # Images: (height, width, channels).

    def conv2d(self, x):
        d, channels = self.d, x.shape[-1]
        groups = d.divisor(channels) if d.chance(0.25) else 1
        filters = groups * d.integer(1, max(1, 8 // groups))
        strides = d.size2d(1, 3) if d.chance(0.4) else 1
        dilation = d.size2d(1, 2) if strides == 1 and d.chance(0.3) else 1
        return L.Conv2D(
            filters, d.size2d(1, 4), strides, d.one("valid", "same"), dilation_rate=dilation, groups=groups,
            **self.kernel_options(),
        )(x)  # fmt: skip

    def depthwise_conv2d(self, x):
        d = self.d
        strides = d.integer(1, 3) if d.chance(0.4) else 1
        dilation = d.size2d(1, 2) if strides == 1 and d.chance(0.3) else 1
        return L.DepthwiseConv2D(
            d.size2d(1, 4), strides, d.one("valid", "same"), d.integer(1, 2), dilation_rate=dilation,
            **self.kernel_options("depthwise"),
        )(x)  # fmt: skip

    def separable_conv2d(self, x):
        d = self.d
        strides = d.integer(1, 3) if d.chance(0.4) else 1
        dilation = d.integer(1, 2) if strides == 1 and d.chance(0.3) else 1
        return L.SeparableConv2D(
            d.integer(1, 8), d.size2d(1, 4), strides, d.one("valid", "same"), dilation_rate=dilation,
            depth_multiplier=d.integer(1, 2), use_bias=d.chance(0.5), activation=self.activation(),
        )(x)  # fmt: skip

    def conv2d_transpose(self, x):
        d = self.d
        strides = d.integer(1, 3)
        options = {}
        if strides > 1 and d.chance(0.3):
            options["output_padding"] = d.integer(0, strides - 1)
        elif strides == 1 and d.chance(0.3):
            options["dilation_rate"] = d.integer(1, 2)
        return L.Conv2DTranspose(
            d.integer(1, 6), d.size2d(1, 4), strides, d.one("valid", "same"), **options, **self.kernel_options()
        )(x)

    def batch_normalization(self, x):
        d = self.d
        axis = d.one(-1, -1, -1, len(x.shape) - 1, 1)
        options = d.options(momentum=[0.9, 0.5], epsilon=[1e-3, 1e-5, 0.1], center=[True, False], scale=[True, False])
        layer = L.BatchNormalization(axis=axis, **options)
        layer.trainable = d.chance(0.8)
        return layer(x)

    def layer_normalization(self, x):
        d = self.d
        rank = len(x.shape) - 1
        axis = d.one(-1, -1, -1, [-1], list(range(1, rank + 1)), rank)
        return L.LayerNormalization(
            axis=axis, **d.options(epsilon=[1e-3, 1e-6], center=[True, False], scale=[True, False])
        )(x)

    def group_normalization(self, x):
        d = self.d
        groups = d.one(-1, d.divisor(x.shape[-1]), d.divisor(x.shape[-1]))
        return L.GroupNormalization(
            groups, **d.options(epsilon=[1e-3, 1e-5], center=[True, False], scale=[True, False])
        )(x)

    def other_normalization(self, x):
        d = self.d
        return d.one(
            lambda: L.RMSNormalization(**d.options(epsilon=[1e-3, 1e-6]))(x),
            lambda: L.UnitNormalization(axis=d.one(-1, 1))(x),
        )()

    def activation_layer(self, x):
        d = self.d
        rank = len(x.shape) - 1
        shared = d.one(None, [1, 2], [rank]) if rank == 3 else None
        return d.one(
            lambda: L.Activation(d.one(*ACTIVATIONS)),
            lambda: L.Activation(d.one(*ACTIVATIONS)),
            lambda: L.ReLU(d.one(None, 2.0, 6.0), d.one(0.0, 0.1), d.one(0.0, 0.3)),
            lambda: L.LeakyReLU(d.number(0, 0.5)),
            lambda: L.ELU(d.number(0.1, 2)),
            lambda: L.PReLU(shared_axes=shared),
            lambda: L.Softmax(axis=d.one(-1, 1)),
        )()(x)

    def pooling(self, x):
        d = self.d
        layer = d.one(L.MaxPooling2D, L.AveragePooling2D)
        return layer(d.size2d(1, 3), d.one(None, 1, 2, 3, (1, 2)), d.one("valid", "same"))(x)

    def adaptive_pooling(self, x):
        d = self.d
        return d.one(L.AdaptiveMaxPooling2D, L.AdaptiveAveragePooling2D)(d.size2d(1, 4))(x)

    def pad_or_crop(self, x):
        d = self.d
        edges = d.one(d.integer(0, 2), (d.integer(0, 2), d.integer(0, 2)),
                      ((d.integer(0, 2), d.integer(0, 2)), (d.integer(0, 2), d.integer(0, 2))))  # fmt: skip
        return d.one(L.ZeroPadding2D, L.Cropping2D)(edges)(x)

    def resize(self, x):
        d = self.d
        size = (d.integer(1, 12), d.integer(1, 12))
        every = ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area"]
        return d.one(
            lambda: L.UpSampling2D(d.size2d(1, 3), interpolation=d.one(*every[:5])),
            lambda: L.Resizing(*size, interpolation=d.one(*every), antialias=d.chance(0.3)),
            lambda: L.Resizing(
                *size, interpolation=d.one("nearest", "bilinear", "bicubic"), crop_to_aspect_ratio=True
            ),
            lambda: L.Resizing(
                *size, interpolation=d.one("nearest", "bilinear"), pad_to_aspect_ratio=True, fill_value=d.number(0, 3)
            ),
            lambda: L.CenterCrop(*size),
        )()(x)

    def scale(self, x):
        d, channels = self.d, x.shape[-1]
        mean, variance = d.numbers(-1, 1, channels), d.numbers(0.5, 2, channels)
        return d.one(
            lambda: L.Rescaling(d.number(0.2, 2), d.number(-1, 1)),
            lambda: L.Rescaling(d.numbers(0.2, 2, channels).tolist(), d.numbers(-1, 1, channels).tolist()),
            lambda: L.Rescaling(d.numbers(0.2, 2, channels), d.number(-1, 1)),
            lambda: L.Normalization(mean=mean, variance=variance, invert=d.chance(0.3)),
            lambda: L.Normalization(mean=mean.tolist(), variance=variance.tolist()),
            lambda: L.Normalization(axis=None, mean=d.number(-1, 1), variance=d.number(0.5, 2)),
        )()(x)

    def adapted_normalization(self, x):
        d = self.d
        layer = L.Normalization(axis=d.one(-1, None))
        layer.adapt(d.numbers(-2, 2, 8, *x.shape[1:]))
        return layer(x)

    def regularization(self, x):
        d, rank = self.d, len(x.shape) - 1
        choices = [
            lambda: L.Dropout(self.rate(), noise_shape=d.one(None, (None, *[1] * rank)), seed=d.one(None, 4)),
            lambda: L.GaussianDropout(self.rate()),
            lambda: L.GaussianNoise(self.rate()),
            lambda: L.AlphaDropout(self.rate()),
            lambda: L.ActivityRegularization(d.number(0, 0.1), d.number(0, 0.1)),
            lambda: L.Identity(),
        ]
        if rank == 3:
            choices += [lambda: L.SpatialDropout2D(self.rate())]
        if rank == 2:
            choices += [lambda: L.SpatialDropout1D(self.rate())]
        return d.one(*choices)()(x)

    def random_layer(self, x):
        if self.trained or x.shape[-1] != 3:
            raise Refused
        return self.d.one(*RANDOM_LAYERS)(self.d)(x)

    def squeeze_and_excite(self, x):
        d, channels = self.d, x.shape[-1]
        if d.chance(0.5):
            s = L.GlobalAveragePooling2D(keepdims=True)(x)
            s = L.Conv2D(d.integer(1, 4), 1, activation="relu")(s)
            s = L.Conv2D(channels, 1, activation=d.one("sigmoid", "hard_sigmoid"))(s)
        else:
            s = L.GlobalAveragePooling2D()(x)
            s = L.Reshape((1, 1, channels))(s)
            s = L.Dense(d.integer(1, 4), activation="relu")(s)
            s = L.Dense(channels, activation="sigmoid")(s)
        return L.Multiply()([x, s]) if d.chance(0.7) else x * s

    def spectral(self, x):
        d = self.d
        layer = L.Conv2D(d.integer(1, 6), 3, padding="same") if len(x.shape) == 4 else L.Dense(d.integer(1, 8))
        if self.trained:
            raise Refused
        return L.SpectralNormalization(layer, power_iterations=d.integer(1, 2))(x)

    def axes(self, x):
        """Another order or shape of the axes."""
        d, shape = self.d, list(x.shape[1:])
        order = [int(i) + 1 for i in d.rng.permutation(len(shape))]
        n = int(np.prod(shape))
        part = d.divisor(n)
        return d.one(
            lambda: L.Permute(order)(x),
            lambda: L.Reshape((-1, part))(x),
            lambda: L.Reshape((part, n // part))(x),
            lambda: K.transpose(x, [0, *order]),
            lambda: K.reshape(x, (-1, n // part, part)),
            lambda: K.swapaxes(x, 1, len(shape)),
            lambda: K.moveaxis(x, -1, 1),
        )()

    def to_sequence(self, x):
        return L.Reshape((-1, x.shape[-1]))(x)

    # Any rank.

    def dense(self, x):
        return L.Dense(self.d.integer(1, 12), **self.kernel_options())(x)

    def operation(self, x):
        """One operation of keras.ops, or an operator, on a tensor."""
        d, rank = self.d, len(x.shape) - 1
        axis = d.one(-1, rank, 1, tuple(range(1, rank + 1))) if d.chance(0.7) else [d.integer(1, rank)]
        one_axis = d.one(-1, 1, d.integer(1, rank))
        size = x.shape[one_axis]
        array = d.numbers(0.5, 1.5, *x.shape[1:]).astype("float32")
        row = d.numbers(0.5, 1.5, x.shape[-1]).astype("float32")
        number = d.number(0.5, 2)
        positive = lambda: K.abs(x) + 0.1  # noqa: E731
        return d.one(
            lambda: x + number,
            lambda: number - x,
            lambda: x * row,
            lambda: x / number,
            lambda: number / positive(),
            lambda: x - array,
            lambda: K.add(array, x),
            lambda: -x,
            lambda: K.abs(x),
            lambda: x**2,
            lambda: K.power(positive(), number),
            lambda: K.square(x),
            lambda: K.sqrt(positive()),
            lambda: K.rsqrt(positive()),
            lambda: K.log(positive()),
            lambda: K.exp(x * 0.5),
            lambda: K.sin(x),
            lambda: K.clip(x, -number, number),
            lambda: K.maximum(x, 0.1),
            lambda: K.minimum(x, row),
            lambda: K.mean(x, axis=axis, keepdims=True),
            lambda: K.sum(x, axis=one_axis, keepdims=True) * 0.2,
            lambda: K.max(x, axis=axis, keepdims=True),
            lambda: K.min(x, axis=one_axis, keepdims=True),
            lambda: K.var(x, axis=one_axis, keepdims=True),
            lambda: K.std(x, axis=one_axis, keepdims=True),
            lambda: x - K.mean(x, axis=axis, keepdims=True),
            lambda: K.mean(x, axis=one_axis) if rank > 1 else K.mean(x, axis=1, keepdims=True),
            lambda: K.max(x, axis=one_axis) if rank > 1 else x,
            lambda: K.concatenate([x, x * 2.0], axis=one_axis),
            lambda: K.stack([x, -x], axis=one_axis),
            lambda: K.expand_dims(x, one_axis) if rank < 3 else x,
            lambda: K.squeeze(K.expand_dims(x, 1), 1),
            lambda: K.repeat(x, 2, axis=one_axis),
            lambda: K.flip(x, axis=one_axis),
            lambda: K.roll(x, 1, axis=one_axis),
            lambda: K.pad(x, [(0, 0)] + [(d.integer(0, 2), d.integer(0, 2)) for _ in range(rank)]),
            lambda: K.softmax(x, axis=one_axis),
            lambda: K.log_softmax(x),
            lambda: K.relu(x),
            lambda: K.sigmoid(x),
            lambda: K.silu(x),
            lambda: K.gelu(x, approximate=d.chance(0.5)),
            lambda: K.hard_sigmoid(x),
            lambda: K.softplus(x),
            lambda: K.leaky_relu(x, negative_slope=0.1),
            lambda: K.normalize(x, axis=-1),
            lambda: x[..., ::-1],
            lambda: x[:, : max(1, x.shape[1] - 1)],
            lambda: x[:, d.integer(0, x.shape[1] - 1)] if rank > 1 else x[:, ::2],
            lambda: K.split(x, size, axis=one_axis)[0] if size <= 8 else x,
            lambda: K.where(x > 0.1, x, x * 0.3),
            lambda: K.tile(x, [1] * rank + [2]),
        )()

    def merge(self, x):
        """Two branches of one tensor, merged."""
        d, rank = self.d, len(x.shape) - 1
        same = [self.same_shape(x) for _ in range(2 if d.chance(0.8) else 3)]
        if d.chance(0.2):
            # Broadcasting: one value for each channel, or for each pixel.
            axes = tuple(range(1, rank)) if d.chance(0.5) and rank > 1 else (rank,)
            same[1] = K.mean(same[1], axis=axes, keepdims=True)
            same = same[:2]
            return d.one(L.Add, L.Multiply, L.Subtract, L.Maximum, L.Minimum, L.Average)()(same)
        return d.one(
            lambda: L.Add()(same),
            lambda: L.Multiply()(same),
            lambda: L.Average()(same),
            lambda: L.Maximum()(same),
            lambda: L.Minimum()(same),
            lambda: L.Subtract()(same[:2]),
            lambda: L.Concatenate(axis=d.one(-1, 1))(same),
            lambda: same[0] * same[1],
            lambda: same[0] / (K.abs(same[1]) + 1.0),
            lambda: K.maximum(same[0], same[1]),
        )()

    def same_shape(self, x):
        """A layer that keeps the shape of its input."""
        d = self.d
        choices = [lambda: self.activation_layer(x), lambda: self.batch_normalization(x), lambda: x,
                   lambda: L.Dense(x.shape[-1], activation=self.activation())(x), lambda: self.regularization(x)]  # fmt: skip
        if len(x.shape) == 4:
            choices += [lambda: L.Conv2D(x.shape[-1], 3, padding="same", activation=self.activation())(x)] * 2
            choices += [lambda: L.DepthwiseConv2D(3, padding="same")(x)]
        return d.one(*choices)()

    def dot(self, x):
        d = self.d
        a, b = self.same_shape(x), self.same_shape(x)
        if len(x.shape) == 2:
            return L.Dot(axes=1, normalize=d.chance(0.5))([a, b])
        if len(x.shape) == 3:
            return L.Dot(axes=d.one(1, 2), normalize=d.chance(0.3))([a, b])
        raise Refused

    # Sequences: (length, features).

    def attention(self, x):
        d = self.d
        features = x.shape[-1]
        if len(x.shape) != 3:
            raise Refused
        other = L.Dense(features)(x)
        return d.one(
            lambda: L.MultiHeadAttention(
                d.integer(1, 3), d.integer(1, 5), value_dim=d.one(None, 3), dropout=self.rate(),
                use_bias=d.chance(0.7), output_shape=d.one(None, 4),
            )(x, d.one(x, other)),  # fmt: skip
            lambda: L.MultiHeadAttention(2, 3)(x, other, key=x),
            lambda: L.GroupQueryAttention(4, d.one(4, 2), 2, use_bias=d.chance(0.7))(x, other),
            lambda: L.Attention(use_scale=d.chance(0.5), score_mode=d.one("dot", "concat"))([x, other]),
            lambda: L.AdditiveAttention(use_scale=d.chance(0.5))([x, other]),
            lambda: K.matmul(K.softmax(K.matmul(x, K.transpose(other, (0, 2, 1))) * 0.3), x),
            lambda: K.einsum("bij,bkj->bik", x, other),
        )()

    def sequence_layer(self, x):
        d = self.d
        length, features = x.shape[1:]
        return d.one(
            lambda: L.EinsumDense("abc,cd->abd", output_shape=(None, d.integer(1, 8)), bias_axes=d.one(None, "d"))(x),
            lambda: L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes=d.one(None, "de"))(x),
            lambda: x + L.Embedding(length, features)(np.arange(length)),
            lambda: x + L.Embedding(length, features)(K.arange(length)),
            lambda: L.GlobalAveragePooling1D(keepdims=d.chance(0.3))(x),
            lambda: L.GlobalMaxPooling1D(keepdims=d.chance(0.3))(x),
        )()

    def vector_layer(self, x):
        d = self.d
        n = x.shape[-1]
        part = d.divisor(n)
        return d.one(
            lambda: L.RepeatVector(d.integer(1, 5))(x),
            lambda: L.Reshape((part, n // part))(x),
            lambda: L.Reshape((1, part, n // part))(x),
        )()

    # Models inside models.

    def nested(self, x):
        """A model as a layer, called once or twice."""
        d = self.d
        shape = x.shape[1:]
        if d.chance(0.4):
            inner = keras.Sequential([L.Input(shape), L.Dense(shape[-1], activation=self.activation())])
            for _ in range(d.integer(0, 2)):
                inner.add(d.one(L.BatchNormalization(), L.Dense(shape[-1]), L.ReLU(), L.Identity()))
        else:
            i = L.Input(shape)
            inner = keras.Model(i, self.same_shape(self.same_shape(i)) if d.chance(0.7) else self.merge_of_same(i))
        if d.chance(0.3):
            inner.trainable = False
            if d.chance(0.5):
                inner.layers[-1].trainable = True
        y = inner(x)
        return inner(y) if y.shape == x.shape and d.chance(0.4) else y

    def several_outputs(self, x):
        """A model with several outputs as a layer, called once or twice; not every output is used."""
        d = self.d
        i = L.Input(x.shape[1:])
        first = self.same_shape(i)
        inner = keras.Model(i, [first, L.Flatten()(self.same_shape(first)), self.same_shape(i)])
        if d.chance(0.3):
            inner.trainable = False
        y, vector, z = inner(x)
        if d.chance(0.4):
            z, _, y = inner(y)
        if d.chance(0.3):
            return L.Dense(d.integer(1, 8))(vector)
        return L.Concatenate()([y, z]) if d.chance(0.5) else y

    def merge_of_same(self, x):
        return L.Add()([self.same_shape(x), x])

    def shared(self, x):
        layer = L.Dense(x.shape[-1], activation=self.activation())
        return layer(layer(x))

    def frozen(self, x):
        d = self.d
        if d.chance(0.3):
            # The layer alone: an activation that is a layer has a flag of its own.
            return L.Dense(d.integer(1, 8), activation=self.activation(), trainable=False)(x)
        layer = L.Dense(d.integer(1, 8))
        layer.trainable = False
        return layer(x)

    def global_pooling(self, x):
        d = self.d
        return d.one(L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)(keepdims=d.chance(0.2))(x)

    def any_rank(self):
        return [self.dense, self.batch_normalization, self.layer_normalization, self.group_normalization,
                self.other_normalization, self.activation_layer, self.scale, self.adapted_normalization,
                self.regularization, self.axes, self.operation, self.operation, self.operation, self.merge, self.merge,
                self.nested, self.several_outputs, self.shared, self.frozen]  # fmt: skip

    def by_rank(self, rank):
        image = [self.conv2d] * 4 + [self.depthwise_conv2d] * 2 + [self.separable_conv2d, self.conv2d_transpose] * 2
        image += [self.pooling] * 3 + [self.adaptive_pooling, self.pad_or_crop, self.resize, self.resize]
        image += [self.random_layer, self.squeeze_and_excite, self.spectral, self.to_sequence]
        sequence = [self.attention] * 4 + [self.sequence_layer] * 2 + [self.dot]
        vector = [self.vector_layer, self.vector_layer, self.spectral, self.dot]
        return self.any_rank() + {3: image, 2: sequence, 1: vector}[rank]

    def block(self, x):
        """The output of a random block that Keras accepts."""
        for _ in range(50):
            rank = len(x.shape) - 1
            block = self.d.one(*self.by_rank(rank))
            try:
                y = block(x)
            except (Refused, ValueError, TypeError, ZeroDivisionError, IndexError, AttributeError):
                continue
            except Exception as error:  # TensorFlow's own errors on a shape that Keras let through
                if type(error).__module__.startswith("tensorflow"):
                    continue
                raise
            if not hasattr(y, "shape") or not 2 <= len(y.shape) <= 4 or None in y.shape[1:] or 0 in y.shape[1:]:
                continue
            if np.prod(y.shape[1:]) <= MAX_ELEMENTS:
                return y
        return x


def head(blocks, x):
    """The end of a model: classes, with or without an activation."""
    d = blocks.d
    if len(x.shape) == 4 and d.chance(0.7):
        x = d.one(L.Flatten, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)()(x)
    elif len(x.shape) > 2:
        x = L.Flatten()(x)
    if np.prod(x.shape[1:]) * 5 > MAX_WEIGHTS:
        raise Refused
    x = L.Dense(d.integer(2, 6), name="logits")(x)
    return L.Activation(d.one("softmax", "sigmoid"))(x) if d.chance(0.2) else x


def sequential(blocks, shape, depth):
    """A chain of layers: what a Sequential model can hold."""
    d = blocks.d
    model = keras.Sequential()
    if d.chance(0.8):
        model.add(L.Input(shape))
    i = L.Input(shape)
    x = i
    for _ in range(depth):
        x = blocks.block(x)
    if len(x.shape) > 2:
        x = L.Flatten()(x)
    x = L.Dense(d.integer(2, 6), name="logits")(x)
    chain = keras.Model(i, x)
    for layer in chain.layers[1:]:
        # A functional model of branches can't be a chain: it is a layer of the chain then.
        if not isinstance(layer, L.Layer) or len(layer._inbound_nodes) != 1:
            raise Refused
    operations = [op for op in chain.operations if not isinstance(op, L.Layer)]
    tensors = [node for layer in chain.layers[1:] for node in layer._inbound_nodes]
    if operations or any(len(node.input_tensors) != 1 for node in tensors):
        raise Refused
    for layer in chain.layers[1:]:
        model.add(layer)
    if not model.built:
        model.build((None, *shape))
    return model


def functional(blocks, shape, depth):
    d = blocks.d
    inputs = [L.Input(shape)]
    x = inputs[0]
    if d.chance(0.1):
        inputs.append(L.Input(shape))
        x = d.one(L.Add, L.Concatenate, L.Average)()(inputs)
    if not blocks.trained and shape[-1] == 3 and d.chance(0.3):
        x = blocks.random_layer(x)
    for _ in range(depth):
        x = blocks.block(x)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], head(blocks, x))


def random_model(seed, index, channels_first=False):
    """Model number `index` of a seed, its weights settled, and whether its training is compared."""
    for attempt in range(100):
        keras.backend.clear_session()
        draw = Draw(seed, index, attempt)
        keras.utils.set_random_seed(draw.integer(0, 2**31 - 1))
        trained = draw.chance(0.6) and not channels_first
        blocks = Blocks(draw, trained)
        shape = (draw.integer(4, 13), draw.integer(4, 13), draw.one(1, 2, 3, 3, 3, 4, 8))
        if channels_first:
            shape = (shape[2], *shape[:2])
        make = sequential if draw.chance(0.3) else functional
        try:
            model = make(blocks, shape, draw.integer(1, 7))
        except Refused:
            continue
        if not all(layer.built for layer in model._flatten_layers()):
            # Keras creates the weights of a layer that is an activation at the first call.
            model([np.zeros((1, *x.shape[1:])) for x in model.inputs])
        if model.count_params() > MAX_WEIGHTS:
            continue
        settle(model, draw)
        return model, draw, trained
    raise SystemExit(f"no model was found for seed {seed}, index {index}")
