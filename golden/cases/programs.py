"""Typical user models: transfer learning, preprocessing in the model, nested and shared models, several outputs."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

import store

SHAPE = (12, 12, 3)


def little_vgg(name="little_vgg"):
    """Two blocks in place of a pretrained base. They are frozen; their first kernel is scaled down for inputs up to 255."""
    inputs = keras.Input(SHAPE)
    x = inputs
    for block, filters in [(1, 4), (2, 6)]:
        x = L.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv1")(x)
        x = L.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv2")(x)
        x = L.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    base = keras.Model(inputs, x, name=name)
    store.randomize(base, store.generator(name))
    kernel, bias = base.get_layer("block1_conv1").get_weights()
    base.get_layer("block1_conv1").set_weights([kernel / 100, bias])
    base.trainable = False
    return base


def train(model, steps=2):
    """Trains for some steps on three images of integers from 0 to 255, one of each class."""
    x = store.generator("train").integers(0, 256, (3, *SHAPE)).astype("float32")
    y = np.eye(3, dtype="float32")
    model.fit(x, y, batch_size=3, epochs=steps, shuffle=False, verbose=0)
    return model


def tutorial_functional():
    """Augmentation, `preprocess_input` on a symbolic tensor, a frozen base and a head; trained for some steps."""
    inputs = keras.Input(SHAPE)
    x = L.RandomFlip("horizontal")(inputs)
    x = L.RandomRotation(0.1)(x)
    x = keras.applications.vgg16.preprocess_input(x)
    x = little_vgg()(x, training=False)
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(8, activation="relu", name="fc1")(x)
    x = L.Dropout(0.5)(x)
    model = keras.Model(inputs, L.Dense(3, activation="softmax", name="predictions")(x))
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    return train(model)


def tutorial_sequential():
    """A Sequential of augmentation, Rescaling, base and head; trained, then fine-tuned from the second block on."""
    augment = keras.Sequential([L.RandomFlip("horizontal_and_vertical"), L.RandomZoom(0.2)], name="augment")
    base = little_vgg()
    head = [L.GlobalAveragePooling2D(), L.Dense(8, activation="relu"), L.Dropout(0.2), L.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input(SHAPE), augment, L.Rescaling(1 / 127.5, offset=-1), base, *head])
    model.compile(keras.optimizers.RMSprop(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    train(model)
    base.trainable = True
    for layer in base.layers[:4]:
        layer.trainable = False
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    return train(model)


def preprocessed():
    """`preprocess_input` in its three modes on symbolic tensors: caffe, tf and torch."""
    inputs = keras.Input(SHAPE)
    kinds = [keras.applications.vgg16, keras.applications.mobilenet_v2, keras.applications.densenet]
    branches = [kind.preprocess_input(inputs) for kind in kinds]
    features = [L.GlobalAveragePooling2D()(L.Conv2D(4, 3, activation="relu")(branch)) for branch in branches]
    model = keras.Model(inputs, L.Dense(3)(L.Concatenate()(features)))
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def inverted_residuals():
    """MobileNetV2's stem and two blocks, one with a stride of 2 and one with a residual connection."""

    def convolve(x, filters, size, prefix, **options):
        x = L.Conv2D(filters, size, padding="same", use_bias=False, name=f"{prefix}_conv", **options)(x)
        return L.BatchNormalization(epsilon=1e-3, momentum=0.999, name=f"{prefix}_BN")(x)

    def block(inputs, filters, stride, prefix):
        x = L.ReLU(6.0)(convolve(inputs, 3 * inputs.shape[-1], 1, f"{prefix}_expand"))
        if stride == 2:
            x = L.ZeroPadding2D(((0, 1), (0, 1)), name=f"{prefix}_pad")(x)
        padding = "valid" if stride == 2 else "same"
        x = L.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False, name=f"{prefix}_depthwise")(x)
        x = L.ReLU(6.0)(L.BatchNormalization(name=f"{prefix}_depthwise_BN")(x))
        x = convolve(x, filters, 1, f"{prefix}_project")
        return L.Add(name=f"{prefix}_add")([inputs, x]) if stride == 1 else x

    inputs = keras.Input(SHAPE)
    x = L.ReLU(6.0, name="Conv1_relu")(convolve(L.Rescaling(1 / 127.5, offset=-1)(inputs), 4, 3, "Conv1", strides=2))
    x = block(block(x, 6, 2, "block_1"), 6, 1, "block_2")
    x = L.Dropout(0.2)(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Conv2D(3, 1, name="logits")(x)
    return keras.Model(inputs, L.Activation("softmax")(L.Flatten()(x)))


def attention():
    """A separable convolution as in Xception, a squeeze-and-excitation gate, and swish."""
    inputs = keras.Input(SHAPE)
    x = L.SeparableConv2D(6, 3, padding="same", activation="swish")(L.Rescaling(1 / 255)(inputs))
    gate = L.Reshape((1, 1, 6))(L.GlobalAveragePooling2D()(x))
    gate = L.Conv2D(6, 1, activation="sigmoid")(L.Conv2D(2, 1, activation="swish")(gate))
    x = L.LeakyReLU(0.1)(L.multiply([x, gate]))
    x = L.GlobalMaxPooling2D()(L.UpSampling2D(2)(L.Cropping2D(1)(x)))
    return keras.Model(inputs, L.Dense(1, activation="sigmoid")(x))


def shared_model():
    """A nested model called on two versions of the input, whose outputs are subtracted and averaged."""
    inputs = keras.Input(SHAPE)
    tower = [keras.Input(SHAPE), L.Conv2D(4, 3, activation="elu"), L.GlobalAveragePooling2D()]
    tower = keras.Sequential(tower, name="tower")
    left = tower(L.Rescaling(1 / 255)(inputs))
    right = tower(L.Rescaling(-1 / 255, offset=1)(inputs))
    x = L.concatenate([L.subtract([left, right]), L.average([left, right])])
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def nested_three_deep():
    """A Sequential in a functional model in a Sequential."""
    block = keras.Sequential([L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(), L.Activation("relu")], name="block")
    inputs = keras.Input(SHAPE)
    middle = keras.Model(inputs, L.MaxPooling2D()(block(L.Rescaling(1 / 255)(inputs))), name="middle")
    return keras.Sequential([keras.Input(SHAPE), middle, L.Flatten(), L.Dense(3, activation="softmax")])


def packed_attention():
    """Self-attention with one projection for queries, keys and values, which moves the batch from the front and back."""

    def attend(x, split):
        size, channels = x.shape[1:]
        packed = ops.reshape(L.Dense(3 * channels)(L.LayerNormalization()(x)), (-1, size, 3, 2, channels // 2))
        query, key, value = split(packed)
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / (channels // 2) ** 0.5)
        return x + ops.reshape(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), (-1, size, channels))

    def items(packed):
        packed = ops.transpose(packed, (2, 0, 3, 1, 4)) * 1.5
        return packed[0], packed[-2, ...], packed[2, :, :]

    def steps(packed):
        heads = ops.transpose(packed, (2, 3, 0, 1, 4))
        return [ops.transpose(part, (1, 0, 2, 3)) for part in ops.unstack(heads, 3, axis=0)]

    def parts(packed):
        return [ops.swapaxes(ops.squeeze(part, 0), 1, 2) for part in ops.split(ops.moveaxis(packed, 2, 0), 3, axis=0)]

    inputs = keras.Input(SHAPE)
    x = L.Reshape((9, 8))(L.Conv2D(8, 4, strides=4)(L.Rescaling(1 / 255)(inputs)))
    for split in [items, steps, parts]:
        x = attend(x, split)
    return keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))


def two_outputs():
    """A class and a bounding box."""
    inputs = keras.Input(SHAPE)
    x = L.Flatten()(L.MaxPooling2D()(L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 255)(inputs))))
    label = L.Dense(3, activation="softmax", name="label")(x)
    return keras.Model(inputs, [label, L.Dense(4, activation="tanh", name="box")(x)])


def feature_pyramid():
    """A base with features of three depths, called on two sizes."""
    inputs = keras.Input((None, None, 3))
    low = L.Conv2D(4, 3, activation="relu", name="low")(L.Rescaling(1 / 255)(inputs))
    middle = L.Conv2D(5, 3, strides=2, activation="relu", name="middle")(low)
    base = keras.Model(inputs, [low, middle, L.GlobalAveragePooling2D()(middle)], name="base")
    inputs = keras.Input(SHAPE)
    low, middle, _ = base(inputs)
    _, _, small = base(L.AveragePooling2D(2)(inputs))
    x = L.concatenate([L.GlobalMaxPooling2D()(middle), small, L.GlobalAveragePooling2D()(low)])
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def layers_as_activations():
    """Layers with weights in the place of activation functions, as they are after a first call."""
    model = layers_as_activations_before_call()
    model(np.zeros((1, *SHAPE)))
    return model


def layers_as_activations_before_call():
    """The same model as Keras saves it before its first call: without the weights of the activations."""
    return keras.Sequential([
        keras.Input(SHAPE),
        L.Rescaling(1 / 255),
        L.Conv2D(4, 3, activation=L.PReLU(shared_axes=[1, 2])),
        L.DepthwiseConv2D(3, activation=L.BatchNormalization()),
        L.Activation(L.PReLU(shared_axes=[1])),
        L.Flatten(),
        L.Dense(6, activation=L.PReLU()),
        L.Dense(3, activation="softmax"),
    ])  # fmt: skip


# Models that keep their trained weights.
TRAINED = [tutorial_functional, tutorial_sequential]
BUILDERS = [*TRAINED, preprocessed, inverted_residuals, attention, shared_model, nested_three_deep, two_outputs]
BUILDERS += [feature_pyramid, packed_attention, layers_as_activations, layers_as_activations_before_call]
