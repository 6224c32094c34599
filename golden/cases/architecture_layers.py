"""Layers of published architectures besides those of `layers`: normalizations, activations, transposed convolutions, pooling."""

from keras import layers as L

import store
from cases.layers import IMAGE, evaluate

ELEMENTWISE = [
    "celu", "hard_shrink", "hard_tanh", "log_sigmoid", "soft_shrink", "sparse_plus", "sparse_sigmoid",
    "squareplus", "tanh_shrink", "log_softmax", "sparsemax",
]  # fmt: skip


def normalizations():
    for label, options, shape in [
        ("", {}, (3, 5, 7, 4)),
        ("_axis1", {"axis": 1}, (2, 5, 7, 3)),
        ("_axis2_3", {"axis": [2, 3]}, (2, 5, 7, 3)),
        ("_axis1_3", {"axis": (1, 3)}, (2, 5, 7, 3)),
        ("_axis_negative", {"axis": [1, -1]}, (2, 3, 7, 3)),
        ("_all", {"axis": [1, 2, 3]}, (2, 5, 7, 3)),
        ("_no_center", {"center": False, "epsilon": 1e-6}, (2, 5, 7, 3)),
        ("_no_scale", {"scale": False, "epsilon": 0.1}, (2, 5, 7, 3)),
        ("_no_weights", {"scale": False, "center": False}, (2, 5, 7, 19)),
        ("_rms_scaling", {"rms_scaling": True}, (2, 5, 7, 3)),
        ("_2d", {}, (6, 37)),
    ]:
        yield f"layer_normalization{label}", L.LayerNormalization(**options), [shape]
    for label, options, shape in [
        ("", {"groups": 2}, (3, 5, 7, 4)),
        ("_one", {"groups": 1}, (2, 5, 7, 3)),
        ("_instances", {"groups": -1, "epsilon": 1e-5}, (2, 5, 7, 3)),
        ("_axis1", {"groups": 2, "axis": 1}, (2, 4, 7, 3)),
        ("_axis2", {"groups": 2, "axis": -2}, (2, 5, 6, 3)),
        ("_no_center", {"groups": 3, "center": False}, (2, 5, 7, 6)),
        ("_no_scale", {"groups": 4, "scale": False}, (2, 5, 7, 8)),
        ("_2d", {"groups": 3}, (4, 12)),
    ]:
        yield f"group_normalization{label}", L.GroupNormalization(**options), [shape]
    yield "rms_normalization", L.RMSNormalization(), [IMAGE]
    yield "rms_normalization_axes", L.RMSNormalization(axis=[-1, -2], epsilon=0.1), [IMAGE]
    yield "unit_normalization", L.UnitNormalization(), [IMAGE]
    yield "unit_normalization_axis1", L.UnitNormalization(axis=1), [IMAGE]
    yield "unit_normalization_axes", L.UnitNormalization(axis=[1, 2]), [IMAGE]


def activations():
    for name in ELEMENTWISE:
        yield f"activation_{name}", L.Activation(name), [(2, 3, 5, 4)]
        yield f"conv2d_{name}", L.Conv2D(4, 3, activation=name), [IMAGE]
    for name, layer in [
        ("leaky_relu", L.LeakyReLU(negative_slope=0.1)),
        ("elu", L.ELU(alpha=0.5)),
        ("relu", L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.25)),
        ("softmax", L.Softmax()),
    ]:
        yield f"conv2d_{name}_object", L.Conv2D(4, 3, activation=layer), [IMAGE]
        yield f"activation_{name}_object", L.Activation(layer), [IMAGE]
    yield "conv2d_prelu_object", L.Conv2D(4, 3, activation=L.PReLU()), [IMAGE]
    yield "dense_prelu_object", L.Dense(5, activation=L.PReLU(shared_axes=[1])), [(3, 7)]
    # Gradients of biases would cancel here.
    norm = L.SeparableConv2D(4, 3, use_bias=False, activation=L.BatchNormalization())
    yield "separable_conv2d_norm_object_training", norm, [IMAGE]
    yield "activation_prelu_object", L.Activation(L.Activation(L.PReLU(shared_axes=[1, 2]))), [IMAGE]
    yield "conv2d_softmax_axis1_object", L.Conv2D(4, 3, use_bias=False, activation=L.Softmax(axis=1)), [IMAGE]
    yield "prelu", L.PReLU(), [IMAGE]
    yield "prelu_shared", L.PReLU(shared_axes=[1, 2]), [IMAGE]
    yield "prelu_shared_one", L.PReLU(shared_axes=2), [IMAGE]
    yield "prelu_2d", L.PReLU(), [(3, 7)]
    yield "softmax_list", L.Softmax(axis=[1]), [IMAGE]
    yield "softmax_axes", L.Softmax(axis=[1, 2]), [IMAGE]
    yield "softmax_axes_apart", L.Softmax(axis=[-1, 1]), [IMAGE]


def convolutions():
    # TensorFlow can't transpose dilated convolutions on a CPU.
    for padding in ["valid", "same"]:
        for label, options in [
            ("kernel3", {"kernel_size": 3}),
            ("kernel3_stride2", {"kernel_size": 3, "strides": 2}),
            ("kernel4_stride2", {"kernel_size": 4, "strides": 2}),
            ("kernel2_stride3", {"kernel_size": 2, "strides": 3}),
            ("kernel3x2_stride1x2", {"kernel_size": (3, 2), "strides": (1, 2)}),
            ("output_padding", {"kernel_size": 3, "strides": 2, "output_padding": (0, 1)}),
        ]:
            layer = L.Conv2DTranspose(4, padding=padding, activation="tanh", **options)
            yield f"conv2d_transpose_{padding}_{label}", layer, [(2, 4, 5, 3)]
    yield "conv2d_transpose_no_bias", L.Conv2DTranspose(5, 1, use_bias=False), [IMAGE]
    yield "conv2d_transpose_8_channels", L.Conv2DTranspose(8, 3, padding="same"), [(2, 6, 7, 8)]
    yield "conv2d_kernel1x5_dilation1x2", L.Conv2D(4, (1, 5), dilation_rate=(1, 2), padding="same"), [(2, 4, 9, 3)]
    yield "conv2d_kernel2_stride3_valid", L.Conv2D(4, 2, strides=3), [(2, 8, 9, 3)]
    yield "conv2d_groups_bias", L.Conv2D(6, (5, 1), groups=3, padding="same", activation="relu"), [(2, 6, 5, 3)]
    yield "depthwise_conv2d_dilation_same", L.DepthwiseConv2D(3, dilation_rate=2, padding="same"), [(2, 6, 9, 3)]
    yield "depthwise_conv2d_kernel2_stride3", L.DepthwiseConv2D(2, strides=3, depth_multiplier=2), [(2, 8, 9, 3)]
    yield "separable_conv2d_dilation", L.SeparableConv2D(4, 3, dilation_rate=2, padding="same"), [(2, 6, 9, 3)]
    yield "separable_conv2d_stride3", L.SeparableConv2D(4, (1, 5), strides=3, activation="relu"), [(2, 8, 9, 3)]


def pooling():
    for size in [3, (2, 4), (1, 1), (4, 9)]:
        label = "x".join(map(str, size)) if isinstance(size, tuple) else size
        yield f"adaptive_average_pooling2d_{label}", L.AdaptiveAveragePooling2D(size), [IMAGE]
        # TensorFlow's gradient of a maximum over the whole image reads memory that nothing has written.
        if size != (1, 1):
            yield f"adaptive_max_pooling2d_{label}", L.AdaptiveMaxPooling2D(size), [IMAGE]
    yield "adaptive_average_pooling2d_even", L.AdaptiveAveragePooling2D((3, 2)), [(2, 6, 8, 3)]
    yield "batch_normalization_axis1", L.BatchNormalization(axis=1), [IMAGE]
    yield "batch_normalization_axis2_training", L.BatchNormalization(axis=-2), [(3, 5, 7, 4)]


def application_layers():
    from keras.src.applications import convnext, inception_resnet_v2

    yield "layer_scale", convnext.LayerScale(0.5, 3), [IMAGE]
    yield "stochastic_depth", convnext.StochasticDepth(0.2), [IMAGE]
    yield "custom_scale", inception_resnet_v2.CustomScaleLayer(0.17), [IMAGE, IMAGE]


def spectral_normalizations():
    for name, layer, options, shape in [
        ("conv2d", L.Conv2D(4, 3, strides=2, activation="relu"), {}, IMAGE),
        ("conv2d_no_bias", L.Conv2D(4, 3, use_bias=False), {"power_iterations": 3}, IMAGE),
        ("depthwise_conv2d", L.DepthwiseConv2D(3, padding="same"), {}, IMAGE),
        ("conv2d_transpose", L.Conv2DTranspose(2, 3, strides=2), {}, IMAGE),
        ("dense", L.Dense(4, activation="tanh"), {}, (3, 5)),
        ("einsum_dense", L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), {}, (2, 5, 6)),
    ]:
        yield f"spectral_normalization_{name}", L.SpectralNormalization(layer, **options), [shape]


def write(directory):
    entries = []
    for cases in [normalizations, activations, convolutions, pooling, application_layers, spectral_normalizations]:
        for name, layer, shapes in cases():
            entry, case = evaluate(name, layer, shapes)
            store.write_npz(directory / f"{name}.npz", case)
            entries.append(entry)
    store.write_index(directory, entries)
